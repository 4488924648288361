"""Files that a file manager, an editor or a cloud made as copies of others beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpustitch.io.images.files import TIFF_SUFFIXES

_WORD = r"(?:copy|kopie|kopia|copie|copia|cópia)"
# What is cut from a name to have that of the original.
_MARKS = (
    re.compile(rf"^{_WORD}(?: ?\(\d+\))? (?:of|von|de|di) ", re.IGNORECASE),
    re.compile(rf"(?: - | |-|_){_WORD}(?: ?\(?\d+\)?)?$", re.IGNORECASE),
    re.compile(r" ?\([^()]*conflict[^()]*\)$", re.IGNORECASE),
    re.compile(r"[.~]sync-conflict-[\w-]+$", re.IGNORECASE),
    re.compile(r" ?\(\d+\)$"),
    re.compile(r"~$"),
)


def copies(paths: Sequence[Path]) -> dict[Path, Path]:
    """The files that are copies by their names, or links to others of them, each with its original."""
    there = {_named(path, path.stem): path for path in paths}
    found = {}
    for path in paths:
        original = next((there[name] for name in _originals(path) if name in there), None)
        if original is not None:
            found[path] = original
    links = [path for path in paths if path.is_symlink()]
    # Links to files elsewhere are frames; several may lead to one file where equal frames are stored once.
    targets = {path.resolve(): path for path in paths if not path.is_symlink()} if links else {}
    return found | {link: targets[link.resolve()] for link in links if link.resolve() in targets}


def _originals(path: Path) -> Iterator[tuple[Path, str, str]]:
    """What the original may be called: the name without one mark of a copy, then without two ..."""
    stem = path.stem
    while (cut := next((mark.sub("", stem) for mark in _MARKS if mark.search(stem)), "")) != "":
        stem = cut
        yield _named(path, stem)


def _named(path: Path, stem: str) -> tuple[Path, str, str]:
    suffix = path.suffix.lower()
    return path.parent, stem.casefold(), TIFF_SUFFIXES[0] if suffix in TIFF_SUFFIXES else suffix
