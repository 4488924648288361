"""Code blocks of pages of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_of(page: Path) -> list[str]:
    """The blocks of Python of a page, in order."""
    return _BLOCK.findall(page.read_text(encoding="utf-8"))
