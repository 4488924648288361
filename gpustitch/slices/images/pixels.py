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
from gpustitch.io.images.tiff_open import tiff_alone
from gpustitch.model import Spacing
from gpustitch.slices.model import SliceHeader

_DECODERS: dict[str, Callable[[bytes], Any]] = {
    ".png": imagecodecs.png_decode,
    ".jpg": imagecodecs.jpeg_decode,
    ".jpeg": imagecodecs.jpeg_decode,
    ".bmp": imagecodecs.bmp_decode,
}


class ImageSlices:
    """Slices in the order given as planes (:class:`gpustitch.io.planes.opening.Planes`); may be read from several
    threads.

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
        first = self._decoded(0)
        if first.dtype.name not in PLANE_TYPES:
            raise DamagedInputError(f"{name} holds {first.dtype} pixels; slices are {', '.join(PLANE_TYPES)}")
        self.dtype: np.dtype[Any] = first.dtype.newbyteorder("=")
        self.shape: tuple[int, int, int] = (len(self.headers), first.shape[0], first.shape[1])

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
            if image.shape != self.shape[1:] or image.dtype.newbyteorder("=") != self.dtype:
                raise DamagedInputError(
                    f"{self.headers[k].path} is {image.dtype} of {image.shape}, but {self.headers[0].path} is "
                    f"{self.dtype} of {self.shape[1:]}; slices of a series are alike"
                )
            out[k - start] = image[rows, columns]
        return out

    def _decoded(self, k: int) -> npt.NDArray[Any]:
        path, frame = self.headers[k].path, self.headers[k].frame
        suffix = path.suffix.lower()
        if suffix in TIFF_SUFFIXES:
            return self._page(path, frame)
        if suffix in _DECODERS:
            with reading(path, "an image"):
                return _grey(np.asarray(_DECODERS[suffix](path.read_bytes())), path)
        return read_image(path)

    def _page(self, path: Path, frame: int) -> npt.NDArray[Any]:
        """A page of a TIFF; files of several slices stay open, as the way to a page leads through those before it."""
        with reading(path, f"TIFF, page {frame}"):
            if path not in self._several:
                with tiff_alone(path) as tiff:
                    return _grey(_read_page(tiff, frame), path)
            with self._lock:
                if path not in self._open:
                    self._open[path] = tiff_alone(path)
                return _grey(_read_page(self._open[path], frame), path)


def _read_page(tiff: Any, frame: int) -> npt.NDArray[Any]:
    """A page of a file, or a plane behind its only page."""
    if len(tiff.pages) > 1 or frame == 0:
        return np.asarray(tiff.pages[frame].asarray(maxworkers=1))
    page = tiff.pages.first
    data = np.fromfile(
        tiff.filehandle.path,
        page.dtype.newbyteorder(tiff.byteorder),
        int(np.prod(page.shape)),
        offset=page.dataoffsets[0] + frame * page.nbytes,
    )
    return data.reshape(page.shape)


def _grey(image: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """The image, one of the colours if all are equal."""
    if image.ndim == 3 and image.shape[2] in (3, 4) and (image[..., :1] == image[..., :3]).all():
        image = np.ascontiguousarray(image[..., 0])
    if image.ndim != 2:
        raise DamagedInputError(f"{path} holds an image of shape {image.shape}; slices are grey, rows x columns")
    return image
