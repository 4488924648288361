"""What volume lies in a folder."""

from __future__ import annotations

from pathlib import Path

from gpustitch.errors import InputMissingError
from gpustitch.io.volumes.blockfs import BLOCKFS_FILE, BlockfsVolume
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume, is_ome_zarr
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.model import Volume

PIPELINE_VOLUME = "volume"  # in the folder that the pipeline makes, beside its flat field and alignment


def is_volume(path: Path) -> bool:
    """Whether ``path`` is the folder of a precomputed, blockfs or OME-Zarr volume."""
    files = ("info", f"1_1_1/{BLOCKFS_FILE}", BLOCKFS_FILE)
    return any((path / name).is_file() for name in files) or is_ome_zarr(path)


def open_volume(path: str | Path) -> Volume:
    """The volume in folder ``path``: blockfs there or in ``1_1_1`` below it, precomputed (``info``), or OME-Zarr.

    Raises
    ------
    InputMissingError
        If the folder holds none.
    DamagedInputError
        If it holds one that cannot be opened.
    """
    folder = Path(path)
    # spimstitch writes an info beside its blockfs data, and nothing that a reader of precomputed chunks would find
    if any((place / BLOCKFS_FILE).is_file() for place in (folder, folder / "1_1_1")):
        return BlockfsVolume(folder)
    if (folder / "info").is_file():
        return PrecomputedVolume(folder)
    if is_ome_zarr(folder):
        return OmeZarrVolume(folder)
    raise InputMissingError(f"{folder} holds no volume: there is no file info, zarr.json or 1_1_1/{BLOCKFS_FILE} in it")
