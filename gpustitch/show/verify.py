"""Reads volumes and images back: are all files there, as they were written, and does every chunk decode?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpustitch.array import Device
from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.io.found import found_places
from gpustitch.io.manifest import SUFFIX
from gpustitch.io.volumes.opening import volume_marks, volumes_at
from gpustitch.io.write.planes import PLANES
from gpustitch.model.options import check_ranges, documented, option
from gpustitch.oblique.channels.file import channel_folders
from gpustitch.running import options as shared
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.threads import checked_workers
from gpustitch.show.manifest_check import check_manifest, manifests
from gpustitch.show.volume_check import check_volume


@documented
@dataclass(frozen=True)
class VerifyOptions:
    """What is read back."""

    paths: tuple[Path, ...] = option(
        help="Volumes, outputs of the pipeline, folders of images with a manifest; quoted patterns too.",
        is_argument=True,
        metavar="PATHS...",
    )
    n_workers: int | None = shared.n_workers()
    device: str | Device = shared.idle_device()


def verified(options: VerifyOptions, progress: Progress = SILENT) -> Iterator[str]:
    """Lines on each volume or manifest: one if all is well, else what is damaged too.

    Raises
    ------
    ParameterError
        If there is no such number of threads, or a volume lies in a file of a kind that is not read.
    InputMissingError
        If a path holds neither; before anything is read.
    DamagedInputError
        At the end, if anything is damaged.
    """
    check_ranges(options)
    n_workers = checked_workers(options.n_workers)
    places = list(dict.fromkeys(place for path in options.paths for place in _places(path)))
    n_damaged = 0
    for place in places:
        found = (check_manifest if place.name.endswith(SUFFIX) else check_volume)(place, n_workers, progress)
        n_damaged += bool(found.n_damages)
        yield from found.lines
    if n_damaged:
        raise DamagedInputError(f"{n_damaged} of {len(places)} are damaged; copy or make them again")


def _places(path: Path) -> Iterator[Path]:
    """The volumes and manifests at a path; of a pattern, other files are left out."""
    for place in (each for found in found_places(path) for each in (found, *channel_folders(found))):
        volumes = volumes_at(place)
        # Beside the pipeline's volume there may be a folder of its planes.
        if found := [*volumes, *manifests(place / PLANES)] if volumes else manifests(place):
            yield from found
        elif path.exists() or place.is_dir():
            raise InputMissingError(
                f"{place} holds nothing to verify: no volume, which has a file {volume_marks()}, and no manifest of "
                f"images, which is called *{SUFFIX}"
            )
