"""Inputs that change while a stage reads them: told at its end, and in its record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gpustitch.errors import DamagedInputError
from gpustitch.io.inputs import Stamp, changes, stamps
from gpustitch.running.progress import Progress


def check_files(**paths: Path | None) -> None:
    """DamagedInputError by the name of the first parameter whose file is a folder, before anything below is listed."""
    for name, path in paths.items():
        if path is not None and path.is_dir():
            raise DamagedInputError(f"`{name}` is the folder {path}, but it must be one file")


@dataclass(frozen=True)
class Inputs:
    """What a stage reads, as it looked when the stage was planned, and outputs that do not count as inputs.

    ``below`` says that a stage reads the folders in a folder too.
    """

    planned: tuple[Stamp, ...] = ()
    apart: tuple[Path, ...] = ()
    below: bool = True

    @classmethod
    def of(cls, paths: Iterable[str | Path], *, apart: Iterable[Path] = (), below: bool = True) -> Self:
        """Inputs as they look now: call it before they are opened."""
        left_out = tuple(apart)
        return cls(stamps(paths, apart=left_out, below=below), left_out, below)

    def tell(self, progress: Progress) -> dict[str, list[str]]:
        """Warn of what has changed since the plan; returns it for the record, which is as before if nothing has."""
        lines = changes(
            self.planned, stamps((stamp.path for stamp in self.planned), apart=self.apart, below=self.below)
        )
        for line in lines:
            progress.warn(line)
        if lines:
            progress.warn("inputs changed while they were read, so the output may mix old and new: make it again")
        return {"changed_inputs": lines} if lines else {}
