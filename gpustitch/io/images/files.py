"""Single images: TIFF, PNG and JPEG 2000 in, TIFF and PNG out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from gpustitch.errors import InputMissingError, ParameterError
from gpustitch.io.atomic import atomic_file
from gpustitch.io.images.reading import reading as reading
from gpustitch.io.images.tiff_pages import TiffPlanes
from gpustitch.model import Spacing

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".tf2")
JP2_SUFFIXES = (".jp2", ".j2k", ".j2c", ".jpx")
PNG_SUFFIX = ".png"
IMAGE_SUFFIXES = (*TIFF_SUFFIXES, *JP2_SUFFIXES, PNG_SUFFIX)  # of files that :func:`read_image` reads
IMAGEJ_TYPES = ("uint8", "uint16", "float32")  # of images that ImageJ opens
_STRIP_BYTES = 1 << 18  # of a compressed TIFF: a reader of few rows then decodes little more than these rows


def read_image(path: str | Path) -> npt.NDArray[Any]:
    """The grey image (rows, columns) in a TIFF, PNG or JPEG 2000 file; pages of a TIFF are (pages, rows, columns).

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If the file cannot be decoded, or its pages differ in size or type.
    ParameterError
        If the image is not grey or the file has another format.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        if not path.exists():  # a mistyped name; another suffix would not help
            raise InputMissingError(f"there is no file {path}")
        raise ParameterError(f"{path}: images are read from {', '.join(IMAGE_SUFFIXES)} files")
    with reading(path, "an image"):
        if suffix in TIFF_SUFFIXES:
            image = _read_tiff(path)
        elif suffix == PNG_SUFFIX:
            image = imagecodecs.png_decode(path.read_bytes())
        else:
            image = imagecodecs.jpeg2k_decode(path.read_bytes())
    image = np.asarray(image)
    if image.ndim not in (2, 3) or (image.ndim == 3 and suffix not in TIFF_SUFFIXES):
        raise ParameterError(f"{path} holds an array of shape {image.shape}; a grey image was expected")
    return image


def _read_tiff(path: Path) -> npt.NDArray[Any]:
    planes = TiffPlanes(path)
    try:
        if len(planes.shape) != 2:  # the shape alone does not tell colours from pages
            raise ParameterError(
                f"{path} is a colour image, of shape {planes.shape}; a grey image was expected. "
                "Save each colour as an image of its own"
            )
        return np.array(planes.read(0) if planes.count == 1 else [planes.read(k) for k in range(planes.count)])
    finally:
        planes.close()


def write_tiff(
    path: str | Path, image: npt.NDArray[Any], *, compression: int = 0, overwrite: bool = False, durable: bool = True
) -> None:
    """Write an image (rows, columns), or pages of them, as TIFF.

    Parameters
    ----------
    path
        The file; it appears only when complete.
    image
        uint8, uint16 or float32, 2-D or 3-D.
    compression
        Level 1 to 9 of zlib's Deflate (Adobe's, without predictor); 0 for none.
    overwrite
        Replace the file if it exists.
    durable
        Wait until the file is on the disk. For one of many files that takes most of the time.

    Raises
    ------
    OutputExistsError, OutputError
        If the file exists or cannot be written.
    """
    path = Path(path)
    check_compression(compression)
    with atomic_file(path, overwrite=overwrite, durable=durable) as partial:
        _write_tiff(partial, image, compression)


def check_compression(level: int) -> None:
    """Raise ParameterError unless ``level`` is 0 to 9."""
    if not 0 <= level <= 9:
        raise ParameterError(f"`compression` is a zlib level from 0 (none) to 9, not {level}")


def encode_tiff(image: npt.NDArray[Any], compression: int = 0, spacing: Spacing | None = None) -> bytes:
    """The bytes of the file that :func:`write_tiff` writes; ParameterError unless ``compression`` is 0 to 9.

    With a ``spacing`` the file states it: in ImageJ's description if ImageJ knows the type, else pixels for each cm.
    """
    check_compression(compression)
    buffer = io.BytesIO()
    _write_tiff(buffer, image, compression, spacing)
    return buffer.getvalue()


def _stated(spacing: Spacing, dtype: np.dtype[Any]) -> dict[str, Any]:
    """The options with which tifffile states a spacing."""
    if dtype.name not in IMAGEJ_TYPES:
        return {"resolution": (1e4 / spacing.x_um, 1e4 / spacing.y_um), "resolutionunit": "centimeter"}
    about = {"axes": "YX", "spacing": spacing.z_um, "unit": "um"}
    resolution = (1 / spacing.x_um, 1 / spacing.y_um)
    return {"imagej": True, "metadata": about, "resolution": resolution, "resolutionunit": "none"}


def _write_tiff(
    target: Path | io.BytesIO, image: npt.NDArray[Any], compression: int, spacing: Spacing | None = None
) -> None:
    """Write an image as one page, in strips if it is compressed."""
    options: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
    if spacing is not None:
        options |= _stated(spacing, image.dtype)
    if compression == 0:
        tifffile.imwrite(target, np.ascontiguousarray(image), **options)
        return
    n_rows, n_columns = image.shape[-2:]
    rows = max(1, min(n_rows, _STRIP_BYTES // max(1, n_columns * image.itemsize)))
    strips = (
        bytes(imagecodecs.deflate_encode(page[row : row + rows].tobytes(), compression))
        for page in image.reshape(-1, n_rows, n_columns)
        for row in range(0, n_rows, rows)
    )
    options |= {"shape": image.shape, "dtype": image.dtype, "compression": "adobe_deflate", "rowsperstrip": rows}
    tifffile.imwrite(target, strips, **options)


def write_png(path: str | Path, image: npt.NDArray[Any], *, overwrite: bool = False) -> None:
    """Write a uint8 image, grey (rows, columns) or RGB (rows, columns, 3), as PNG.

    Raises
    ------
    ParameterError
        If the image is of another type or shape.
    OutputExistsError, OutputError
        If the file exists or cannot be written.
    """
    path = Path(path)
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
        raise ParameterError(f"{path}: PNG pictures are uint8, grey or RGB, not {image.dtype} of shape {image.shape}")
    with atomic_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))
