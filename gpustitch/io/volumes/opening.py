"""What volume lies in a folder."""

from __future__ import annotations

from pathlib import Path

from gpustitch.errors import InputMissingError
from gpustitch.io.registry import Registry, either
from gpustitch.io.volumes.blockfs import BlockfsFormat
from gpustitch.io.volumes.format import StoredVolume, VolumeFormat
from gpustitch.io.volumes.ome_zarr import OmeZarrFormat
from gpustitch.io.volumes.precomputed import PrecomputedFormat
from gpustitch.model import Spacing

PIPELINE_VOLUME = "volume"  # in the folder that the pipeline makes, beside its flat field and alignment
# spimstitch writes an info beside its blockfs data, and nothing that a reader of precomputed chunks would find.
VOLUME_FORMATS: Registry[VolumeFormat] = Registry(
    "volumes", "gpustitch.volumes", (BlockfsFormat(), PrecomputedFormat(), OmeZarrFormat())
)


def is_volume(path: Path) -> bool:
    """Whether ``path`` is the folder of a volume of a format in :data:`VOLUME_FORMATS`."""
    return any(format.found_in(path) for format in VOLUME_FORMATS)


def open_volume(path: str | Path, fallback: Spacing | None = None) -> StoredVolume:
    """The volume in folder ``path``: of the first format in :data:`VOLUME_FORMATS` that is found there.

    ``fallback`` is the spacing of a volume that has nothing to go by.

    Raises
    ------
    InputMissingError
        If the folder holds none.
    DamagedInputError
        If it holds one that cannot be opened.
    ParameterError
        If nothing tells its voxel size and there is no ``fallback``.
    """
    folder = Path(path)
    for format in VOLUME_FORMATS:
        if format.found_in(folder):
            return format.open(folder, fallback)
    raise InputMissingError(f"{folder} holds no volume: there is no file {volume_marks()} in it")


def volume_marks() -> str:
    """The files that betray a volume, for people."""
    return either(format.marks[0] for format in VOLUME_FORMATS)
