"""Files in the order people count."""

from __future__ import annotations

import re
from pathlib import Path


def natural_key(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Sorts ``img_2.tif`` before ``img_10.tif``."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", path.name) if part)
