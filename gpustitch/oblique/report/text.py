"""Text of the page."""

from __future__ import annotations

import re
from html import escape


def words(text: str) -> str:
    """A line for the page, as HTML; parameters in backquotes stand out."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
