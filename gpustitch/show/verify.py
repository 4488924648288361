"""Reads volumes back: are all files there, as they were written, and does every chunk decode?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpustitch.array import Device
from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.io.found import found_places
from gpustitch.io.volumes.opening import PIPELINE_VOLUME, is_volume, volume_marks
from gpustitch.model.options import check_ranges, documented, option
from gpustitch.running import options as shared
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.threads import checked_workers
from gpustitch.show.volume_check import check_volume


@documented
@dataclass(frozen=True)
class VerifyOptions:
    """Which volumes are read back."""

    paths: tuple[Path, ...] = option(
        help="Volumes, or outputs of the pipeline; quoted patterns too.", is_argument=True, metavar="PATHS..."
    )
    n_workers: int | None = shared.n_workers()
    device: str | Device = shared.idle_device()


def verified(options: VerifyOptions, progress: Progress = SILENT) -> Iterator[str]:
    """Lines on each volume: one if all is well, else what is damaged too.

    Raises
    ------
    ParameterError
        If there is no such number of threads, or a volume lies in a file of a kind that is not read.
    InputMissingError
        If a path holds no volume; before anything is read.
    DamagedInputError
        At the end, if anything is damaged.
    """
    check_ranges(options)
    n_workers = checked_workers(options.n_workers)
    volumes = list(dict.fromkeys(volume for path in options.paths for volume in _volumes(path)))
    n_damaged = 0
    for volume in volumes:
        found = check_volume(volume, n_workers, progress)
        n_damaged += bool(found.n_damages)
        yield from found.lines
    if n_damaged:
        raise DamagedInputError(f"{n_damaged} of {len(volumes)} volumes are damaged; copy or make them again")


def _volumes(path: Path) -> Iterator[Path]:
    """The volumes at a path; of a pattern, files are left out."""
    for place in found_places(path):
        found = [folder for folder in (place, place / PIPELINE_VOLUME) if is_volume(folder)]
        if found:
            yield found[0]
        elif path.exists() or place.is_dir():
            raise InputMissingError(
                f"{place} holds no volume: there is no file {volume_marks()} in it, nor in {place / PIPELINE_VOLUME}"
            )
