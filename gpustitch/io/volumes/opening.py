"""Opening the volume that lies in a folder, whatever its format."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.io.found import is_text
from gpustitch.io.registry import Registry, either
from gpustitch.io.stacks.choice import StackChoice, check_no_choice
from gpustitch.io.volumes.blockfs import BlockfsFormat
from gpustitch.io.volumes.format import Access, StoredVolume, VolumeFormat
from gpustitch.io.volumes.ome_zarr import OmeZarrFormat
from gpustitch.io.volumes.precomputed import PrecomputedFormat
from gpustitch.io.volumes.record import RECORD, read_record
from gpustitch.model import Spacing

_log = logging.getLogger(__name__)

PIPELINE_VOLUME = "volume"  # folder in the pipeline's output, beside the flat field and the alignment
# blockfs is tried first: spimstitch writes an info beside its blockfs data, but no precomputed chunks.
VOLUME_FORMATS: Registry[VolumeFormat] = Registry(
    "volumes", "gpustitch.volumes", (BlockfsFormat(), PrecomputedFormat(), OmeZarrFormat())
)


def is_volume(path: Path) -> bool:
    """Whether ``path`` is the folder of a volume of a format in :data:`VOLUME_FORMATS`, even if its marks are lost."""
    return any(format.found_in(path) for format in VOLUME_FORMATS) or (path / RECORD).is_file()


def volume_at(path: Path) -> Path | None:
    """The folder of the volume at ``path``: itself, or that in a pipeline's output; None if there is none."""
    return next((folder for folder in (path, path / PIPELINE_VOLUME) if is_volume(folder)), None)


def volumes_at(path: Path) -> list[Path]:
    """The folders of volumes at ``path``: itself, or those in a pipeline's output, one for each format."""
    if is_volume(path) or not path.is_dir():
        return [path] if is_volume(path) else []
    own = path / PIPELINE_VOLUME
    others = (place for place in sorted(path.glob(f"{PIPELINE_VOLUME}.*")) if place.is_dir())
    return [place for place in (own, *others) if is_volume(place)]


def open_volume(
    path: str | Path,
    fallback: Spacing | None = None,
    *,
    level: int = 0,
    allow_missing: bool = False,
    choice: StackChoice | None = None,
) -> StoredVolume:
    """The volume in folder ``path``, in the first format of :data:`VOLUME_FORMATS` whose marks lie there.

    ``fallback`` is the spacing of a volume whose files state no spacing at all. ``level`` 0 is the full resolution.
    With ``allow_missing``, files of chunks that are missing are counted, and their voxels read as empty.
    ``choice`` says which volume to open, where there are several; None if the user of the caller cannot choose.

    Raises
    ------
    InputMissingError
        If the folder holds no volume.
    DamagedInputError
        If the volume cannot be opened, or files are missing.
    ParameterError
        If nothing states the voxel size and there is no ``fallback``. Also if there are several volumes and ``choice``
        does not leave one.
    """
    folder = Path(path)
    for format in VOLUME_FORMATS:
        if format.found_in(folder):
            if not is_text(folder):
                raise DamagedInputError(
                    f"{str(folder)!a} cannot be opened: its name has bytes that are no text; rename it"
                )
            if choice is not None and not format.has_stacks:
                check_no_choice(folder, choice)
            volume = format.open(folder, Access(fallback, level, allow_missing, choice))
            _log.debug("opened %s, level %d: %s, by %s", folder, level, volume.dtype, type(format).__name__)
            return volume
    read_record(folder)  # names the marks that are lost
    raise InputMissingError(f"{folder} holds no volume: there is no file {volume_marks()} in it")


def choices_at(folder: Path) -> Sequence[tuple[str, StackChoice]]:
    """Of each volume in a folder its name, and the choice that picks it; none where there is no volume.

    Raises
    ------
    DamagedInputError
        If the volumes' description cannot be understood.
    """
    return next((format.choices(folder) for format in VOLUME_FORMATS if format.found_in(folder)), ())


def volume_marks() -> str:
    """The files that mark a volume, for messages and help."""
    return either(format.marks[0] for format in VOLUME_FORMATS)
