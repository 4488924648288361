"""A volume that is replaced while it is read: parts of two volumes must not be taken for one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gpustitch.errors import DamagedInputError


class Unchanged:
    """Remembers which file describes a volume; a writer that replaces the volume puts another in its place.

    Parameters
    ----------
    volume
        The volume's name in the error.
    descriptions
        Files that may describe it; the first that is there counts.
    """

    def __init__(self, volume: Path, descriptions: Iterable[Path]) -> None:
        self._volume = volume
        self._descriptions = list(descriptions)
        self._known = self._found()

    def check(self) -> None:
        """Raise DamagedInputError if another description is there; to be called after a read."""
        if self._found() != self._known:
            raise DamagedInputError(f"{self._volume} was replaced, changed or removed while it was read; run again")

    def _found(self) -> tuple[int, int, int] | None:
        for file in self._descriptions:
            try:
                status = file.stat()
            except OSError:
                continue
            return status.st_dev, status.st_ino, status.st_mtime_ns
        return None
