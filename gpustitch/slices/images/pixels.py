"""Pixels of slices that are images: pages of TIFF files, PNG, JPEG, JPEG 2000 and BMP files."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.frames.format import PLANE_TYPES
from gpustitch.io.images.files import TIFF_SUFFIXES, read_image, reading
from gpustitch.io.images.tiff_meaning import check_colors, meaning_of, shown_as
from gpustitch.io.images.tiff_open import tiff_alone
from gpustitch.model import Spacing
from gpustitch.slices.held import check_held
from gpustitch.slices.images.headers import read_header
from gpustitch.slices.model import SliceHeader

_DECODERS: dict[str, Callable[[bytes], Any]] = {
    ".png": imagecodecs.png_decode,
    ".jpg": imagecodecs.jpeg_decode,
    ".jpeg": imagecodecs.jpeg_decode,
    ".bmp": imagecodecs.bmp_decode,
}


_JPEG = (".jpg", ".jpeg")
# What pixels of other types are read as. float32 holds whole numbers to 2^24; others are refused, real ones rounded.
_READ_AS = {
    "bool": "uint8", "int8": "int16", "int32": "float32", "uint32": "float32", "float16": "float32",
    "float64": "float32",
}  # fmt: skip
_CHECKED = ("int32", "uint32", "float64")
_PLANE_BY_PLANE = 2  # PlanarConfiguration: all red, then all green, then all blue
# Slices of a colored kind that are looked at: grey pictures are often stored so.
_LOOKED_AT = 9


class ImageSlices:
    """Slices in the order given as planes (:class:`gpustitch.io.planes.opening.Planes`); may be read from several
    threads.

    Values are uint8, uint16, int16 or float32; ``stored`` is the type in the files. Whole numbers of 32 bits and real
    ones of 64 become float32: a number that it does not hold is refused, but real ones are rounded.

    Color slices of 8 bits are read as red, green and blue, one after another in a row: ``samples`` is 3 then, and the
    last axis of ``shape`` three times as long. Slices that are grey all the same have one sample.

    Parameters
    ----------
    headers
        File and frame of each, and their shape.
    name
        What messages call them.

    Raises
    ------
    InputMissingError
        If there is none, or its file is gone.
    DamagedInputError
        If the first is no grey image, or one is of another size or type when it is read.
    """

    depth = 1
    absent: frozenset[int] = frozenset()
    spacing: Spacing | None = None

    def __init__(self, headers: Sequence[SliceHeader], name: str) -> None:
        if not headers:
            raise InputMissingError(f"{name} has no slices")
        self.headers = tuple(headers)
        self.name = name
        self._several = {path for path, n in Counter(header.path for header in headers).items() if n > 1}
        self._open: dict[Path, Any] = {}
        self._lock = threading.Lock()
        first, self.samples = self._first()
        self.stored: np.dtype[Any] = first.dtype.newbyteorder("=")
        known = (*PLANE_TYPES, *_READ_AS) if self.samples == 1 else ("uint8",)
        if self.stored.name not in known:
            kind = "colors" if self.samples > 1 else "pixels"
            raise DamagedInputError(f"{name} holds {self.stored} {kind}; slices are {', '.join(dict.fromkeys(known))}")
        self.dtype: np.dtype[Any] = np.dtype(_READ_AS.get(self.stored.name, self.stored))
        self.shape: tuple[int, int, int] = (len(self.headers), first.shape[0], first.shape[1] * self.samples)

    def _first(self) -> tuple[npt.NDArray[Any], int]:
        """The first slice and the samples of a pixel: three if a slice that is looked at has colors."""
        first = self._image(0)
        if first.ndim == 2:
            return first, 1
        looked = np.unique(np.linspace(0, len(self.headers) - 1, _LOOKED_AT).astype(int)).tolist()
        is_grey = all(image.ndim == 2 or _is_grey(image) for image in map(self._image, looked))
        return first, 1 if is_grey else 3

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Slices ``start <= k < stop``, cut to ``rows`` and ``columns``, as a new array.

        Raises
        ------
        ParameterError
            If the range is not inside the stack.
        DamagedInputError
            If a file cannot be decoded or is not like the first.
        """
        n, n_rows, n_columns = self.shape
        if not 0 <= start <= stop <= n:
            raise ParameterError(f"{self.name} has slices 0 to {n - 1}; {start}..{stop - 1} are not all there")
        out = np.empty((stop - start, len(range(n_rows)[rows]), len(range(n_columns)[columns])), self.dtype)
        for k in range(start, stop):
            image = self._decoded(k)
            if image.shape != self.shape[1:] or image.dtype.newbyteorder("=") != self.stored:
                raise DamagedInputError(
                    f"{self.headers[k].path} is {image.dtype} of {image.shape}, but {self.headers[0].path} is "
                    f"{self.stored} of {self.shape[1:]}; slices of a series are alike"
                )
            part = image[rows, columns]
            with np.errstate(over="ignore"):
                out[k - start] = part
            if self.stored.name in _CHECKED:
                check_held(out[k - start], part, self.headers[k].path, is_whole=self.stored.kind != "f")
        return out

    def _decoded(self, k: int) -> npt.NDArray[Any]:
        """A slice as rows of samples."""
        path, image = self.headers[k].path, self._image(k)
        if self.samples == 1:
            return _grey(image, path)
        if image.ndim == 2:
            return np.repeat(image, 3, axis=1)
        return np.ascontiguousarray(image[..., :3]).reshape(len(image), -1)

    def _image(self, k: int) -> npt.NDArray[Any]:
        path, frame = self.headers[k].path, self.headers[k].frame
        suffix = path.suffix.lower()
        if suffix in TIFF_SUFFIXES:
            return self._page(path, frame)
        if suffix in _DECODERS:
            with reading(path, "an image"):
                image = np.asarray(_DECODERS[suffix](path.read_bytes()))
            if suffix in _JPEG and image.shape[2:] == (4,):
                raise DamagedInputError(
                    f"{path} holds colors as inks (CMYK); save it as red, green and blue, or as a grey image"
                )
            image = shown_as(read_header(path).orientation).pixels(image) if suffix in _JPEG else image
            return _shaped(image, path)
        return read_image(path)

    def _page(self, path: Path, frame: int) -> npt.NDArray[Any]:
        """A page of a TIFF; files of several slices stay open, as the way to a page leads through those before it."""
        with reading(path, f"TIFF, page {frame}"):
            if path not in self._several:
                with tiff_alone(path) as tiff:
                    return _shaped(_read_page(tiff, frame, path), path)
            with self._lock:
                if path not in self._open:
                    self._open[path] = tiff_alone(path)
                return _shaped(_read_page(self._open[path], frame, path), path)


def _read_page(tiff: Any, frame: int, path: Path) -> npt.NDArray[Any]:
    """A page of a file, or a plane behind its only page, as it is shown."""
    if len(tiff.pages) > 1 or frame == 0:
        page = tiff.pages[frame]
        check_colors(page, path)
        image = np.asarray(page.asarray(maxworkers=1))
        if image.ndim == 3 and page.keyframe.planarconfig == _PLANE_BY_PLANE:
            image = np.ascontiguousarray(np.moveaxis(image, 0, -1))
        return meaning_of(page, path).pixels(image)
    page = tiff.pages.first
    data = np.fromfile(
        tiff.filehandle.path,
        page.dtype.newbyteorder(tiff.byteorder),
        int(np.prod(page.shape)),
        offset=page.dataoffsets[0] + frame * page.nbytes,
    )
    return meaning_of(page, path).pixels(data.reshape(page.shape))


def _shaped(image: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """The image as (rows, columns) or (rows, columns, 3 or 4); DamagedInputError if it is neither."""
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4)):
        return image
    raise DamagedInputError(f"{path} holds an image of shape {image.shape}; slices are grey or colored, rows x columns")


def _is_grey(image: npt.NDArray[Any]) -> bool:
    return bool((image[..., :1] == image[..., :3]).all())


def _grey(image: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """The image, one of the colors if all are equal."""
    if image.ndim == 2:
        return image
    if not _is_grey(image):
        raise DamagedInputError(f"{path} has colors, which other slices of the series that were looked at have not")
    return np.ascontiguousarray(image[..., 0])
