"""Stacks of frames in image files: TIFF (one per frame, or pages of one) and JPEG 2000."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.images.files import reading
from gpustitch.io.images.jp2 import jp2_shape_and_dtype, read_jp2
from gpustitch.io.images.tiff_open import open_tiff, opened_tiff

# Types that every stage takes; stages that compare or resample planes take the others too.
_DTYPES = ("uint8", "uint16", "float32")
PLANE_TYPES = (*_DTYPES, "int8", "int16", "int32", "uint32", "float64")


class _Stack:
    """Frames, one read at a time by ``_frame``."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    name: str

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Frames ``start <= f < stop``, cut to ``rows`` and ``columns``, as a new array.

        Raises
        ------
        ParameterError
            If the range is not inside the stack.
        DamagedInputError
            If a file cannot be decoded or is of another size than when the stack was opened.
        """
        n_frames, n_rows, n_columns = self.shape
        if not 0 <= start <= stop <= n_frames:
            raise ParameterError(f"{self.name} has frames 0 to {n_frames - 1}; {start}..{stop - 1} are not all there")
        shape = (stop - start, len(range(n_rows)[rows]), len(range(n_columns)[columns]))
        out = np.empty(shape, self.dtype)
        for index in range(start, stop):
            out[index - start] = self._frame(index)[rows, columns]
        return out

    def _frame(self, index: int) -> npt.NDArray[Any]:
        raise NotImplementedError


class OneFilePerFrame(_Stack):
    """Image files in the order given, one for each frame; formats are derived from it.

    Parameters
    ----------
    paths
        The files.
    describe
        Shape and dtype of a file, without reading its pixels.
    load
        Pixels of a file.
    types
        Names of the dtypes that are taken.

    Raises
    ------
    InputMissingError
        If there is no file.
    DamagedInputError
        If one is not a single grey image, or of another size or type than the first.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        describe: Callable[[Path], tuple[tuple[int, ...], np.dtype[Any]]],
        load: Callable[[Path], npt.NDArray[Any]],
        types: Sequence[str] = _DTYPES,
    ) -> None:
        self.paths = tuple(paths)
        if not self.paths:
            raise InputMissingError("a stack needs at least one image file")
        self.name = f"{self.paths[0]} ... {self.paths[-1].name}" if len(self.paths) > 1 else str(self.paths[0])
        self._load = load
        first = describe(self.paths[0])
        shape, self.dtype = _checked(self.paths[0], *first, types)
        for path in self.paths[1:]:
            other = describe(path)
            if other != first:
                raise DamagedInputError(
                    f"{path} is {other[1]} of {_by(other[0])} but {self.paths[0]} is {first[1]} of {_by(shape)}; "
                    "all frames of a stack must be alike"
                )
        self.shape = (len(self.paths), *shape)

    def _frame(self, index: int) -> npt.NDArray[Any]:
        path = self.paths[index]
        frame = self._load(path)
        if frame.shape != self.shape[1:] or frame.dtype != self.dtype:
            raise DamagedInputError(
                f"{path} is {frame.dtype} of {_by(frame.shape)}; it was {self.dtype} of {_by(self.shape[1:])} before"
            )
        return frame


class Jp2Frames(OneFilePerFrame):
    """JPEG 2000 files in the order given (:class:`gpustitch.model.Frames`); may be read from several threads.

    Raises
    ------
    InputMissingError
        If there is none.
    DamagedInputError
        If one is not JPEG 2000 or of another size or type than the first.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        super().__init__([Path(p) for p in paths], jp2_shape_and_dtype, read_jp2)


class TiffFrames(OneFilePerFrame):
    """TIFF files of one page each in the order given (:class:`gpustitch.model.Frames`).

    May be read from several threads. Pixels are of one of ``types``.

    Raises
    ------
    InputMissingError
        If there is none.
    DamagedInputError
        If one is not a TIFF, or of another size or type than the first.
    """

    def __init__(self, paths: Iterable[str | Path], types: Sequence[str] = _DTYPES) -> None:
        super().__init__([Path(p) for p in paths], _describe_tiff, _load_tiff, types)


class TiffPages(_Stack):
    """The pages of one TIFF or ImageJ hyperstack, in file order (:class:`gpustitch.model.Frames`).

    Pixels are of one of ``types``.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If it is not a TIFF, ends early, or its pages differ in size or type.
    """

    def __init__(self, path: str | Path, types: Sequence[str] = _DTYPES) -> None:
        self.path = Path(path)
        self.name = str(self.path)
        with reading(self.path, "TIFF"):
            self._file = open_tiff(self.path)
            self._file.filehandle.set_lock(True)
            series = self._file.series
            # Pages written one at a time each say that they are a series of their own.
            pages = [page for part in series for page in part.pages] if len(series) > 1 else []
            if len({(part.keyframe.shape, part.dtype) for part in series}) != 1:
                raise DamagedInputError(f"{self.path} has {len(pages)} pages of different sizes or types")
            shape = tuple(series[0].keyframe.shape)
            frame, self.dtype = _checked(self.path, shape, np.dtype(series[0].dtype), types)
            n_frames = len(pages) or int(np.prod(series[0].shape, dtype=np.int64)) // (frame[0] * frame[1])
            self._mapped: npt.NDArray[Any] | None = None
            if not pages and series[0].dataoffset is not None:
                self._mapped = np.memmap(
                    self.path,
                    self.dtype.newbyteorder(self._file.byteorder),
                    "r",
                    series[0].dataoffset,
                    (n_frames, *frame),
                )
            self._pages: list[Any] = pages or (list(series[0].pages) if self._mapped is None else [])
        self.shape = (n_frames, *frame)

    def _frame(self, index: int) -> npt.NDArray[Any]:
        if self._mapped is not None:
            return np.asarray(self._mapped[index])
        with reading(self.path, f"TIFF, page {index} of {self.shape[0]}"):
            return np.asarray(self._pages[index].asarray(maxworkers=1))


def _describe_tiff(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with opened_tiff(path) as tiff:
        if len(tiff.pages) != 1:
            raise DamagedInputError(f"{path} has {len(tiff.pages)} pages; in a stack of files each holds one frame")
        page = tiff.pages[0]
        return tuple(page.shape), np.dtype(page.dtype)


def _load_tiff(path: Path) -> npt.NDArray[Any]:
    with reading(path, "TIFF"):
        return np.asarray(tifffile.imread(path, maxworkers=1))


def _checked(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], types: Sequence[str]
) -> tuple[tuple[int, int], np.dtype[Any]]:
    if len(shape) != 2:
        raise DamagedInputError(f"{path} holds an image of shape {shape}; frames are grey, rows x columns")
    if dtype.name not in types:
        raise DamagedInputError(f"{path} holds {dtype} pixels; frames are {', '.join(types)}")
    return (int(shape[0]), int(shape[1])), dtype.newbyteorder("=")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
