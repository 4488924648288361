"""Text of the page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from html import escape

# What people copy into a shell to see a place; the page has no server that could show it.
LOOK = "gpustitch view {} --at {},{},{}"


def words(text: str) -> str:
    """A line for the page, as HTML; parameters in backquotes stand out."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def look(folder: str, at_px: Sequence[int]) -> str:
    """The command line that shows a voxel (z, y, x) of an output."""
    return LOOK.format(shlex.quote(folder), *reversed(at_px))
