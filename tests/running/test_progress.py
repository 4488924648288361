"""Numbers of things, for people."""

from __future__ import annotations

import pytest

from gpustitch.running.progress import counted, units


@pytest.mark.parametrize(
    ("n", "named", "said"),
    [
        (0, "blocks", "0 blocks"),
        (1, "blocks", "1 block"),
        (2, "blocks", "2 blocks"),
        (1, "images", "1 image"),
        (1, "patches", "1 patch"),
        (1, "series", "1 series"),
        (1, "damaged files", "1 damaged file"),
        (1, "MB", "1 MB"),
        (1234, "files", "1,234 files"),
    ],
)
def test_one_thing_is_called_one(n, named, said):
    assert counted(n, named) == said
    assert said.endswith(f" {units(n, named)}")
