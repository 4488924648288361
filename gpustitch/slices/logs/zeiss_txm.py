"""Voxel size in Zeiss Xradia files: OLE compound files of projections (.txrm) or of a reconstruction (.txm)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpustitch.errors import DamagedInputError, MissingExtraError
from gpustitch.io.images.files import reading


@dataclass(frozen=True)
class TxmHeader:
    """``pixel_um`` as stored (float32), ``shape`` (images, rows, columns); None for what is not stored."""

    pixel_um: float | None
    shape: tuple[int | None, int | None, int | None]


def read_txm(path: Path) -> TxmHeader:
    """Read ImageInfo of a .txm or .txrm.

    Raises
    ------
    MissingExtraError
        Without olefile.
    InputMissingError
        If there is no such file.
    DamagedInputError
        If it is no OLE file, or an entry is too short.
    """
    try:
        import olefile
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: Zeiss files are read with olefile; install it with pip install 'gpustitch[zeiss]'"
        ) from error
    with reading(path, "a Zeiss file (OLE)"), olefile.OleFileIO(str(path)) as ole:
        pixel = _value(ole, path, "ImageInfo/PixelSize", "<f")  # or pixelsize: names of entries match in any case
        names = ("ImageInfo/NoOfImages", "ImageInfo/ImageHeight", "ImageInfo/ImageWidth")
        images, rows, columns = (_value(ole, path, name, "<I") for name in names)
    return TxmHeader(pixel, (images, rows, columns))


def _value(ole: Any, path: Path, name: str, layout: str) -> Any:
    """The first value of an entry; None without it."""
    if not ole.exists(name):
        return None
    data = ole.openstream(name).read(struct.calcsize(layout))
    if len(data) < struct.calcsize(layout):
        raise DamagedInputError(f"{path}: {name} is {len(data)} bytes long; {struct.calcsize(layout)} were expected")
    return struct.unpack(layout, data)[0]
