"""Planes that one TIFF itself holds: its pages, or equal planes that lie one after the other behind a single page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import tifffile

from gpustitch.errors import DamagedInputError
from gpustitch.io.images.reading import reading
from gpustitch.io.images.tiff_meaning import meaning_of
from gpustitch.io.images.tiff_open import opened_tiff, tiff_alone
from gpustitch.io.windows import StoredArray, StoredFile


class TiffPlanes:
    """Planes of one TIFF, all of one size and type; may be read from several threads.

    Another process that gets them opens the file again.

    ``among`` are the numbers of the pages that are to be read, where those of a file differ; ``count`` is that of all.

    A description may count more or fewer planes, and name other files: what lies in the file counts. Planes are as they
    are shown (:class:`gpustitch.io.images.tiff_meaning.Meaning`).

    Attributes
    ----------
    path
        The file.
    shape
        Shape of a plane; (rows, columns) for grey planes.
    dtype
        Type of its pixels.
    count
        Number of planes.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If the file is not a TIFF, ends early, its pages differ in size or type, or its numbers are no brightness.
    """

    def __init__(self, path: Path, among: Sequence[int] | None = None) -> None:
        self.path, self._among = path, among
        with opened_tiff(path) as described:
            self.count = _planes_behind(described)
        self._stored: StoredArray | None = None
        with reading(path, "TIFF"):
            self._file = tiff_alone(path, is_ome=False, is_imagej=False)
            self._file.filehandle.set_lock(True)
            series = _series_of(self._file)
            pages, heads = _pages_of(self._file, series, among)
            meanings = {meaning_of(head, path) for head in heads}
            if len({(head.shape, head.dtype) for head in heads}) != 1 or len(meanings) != 1:
                raise DamagedInputError(f"{path} has {len(self._file.pages)} pages of different sizes or types")
            first = heads[0]
            (self._meaning,) = meanings
            self.shape = self._meaning.shape(tuple(int(n) for n in first.shape))
            self.dtype: np.dtype[Any] = np.dtype(first.dtype)
            self.count = self.count or len(pages)
            self._pages = pages
            at = series[0].dataoffset if len(series) == 1 else None
            if self.count > len(pages):
                at = first.dataoffsets[0]
            if at is not None:
                stored = self.dtype.newbyteorder(self._file.byteorder)
                self._file.close()
                self._stored = StoredArray(StoredFile(path), at, stored, (self.count, *first.shape), "page")

    def __reduce__(self) -> tuple[type[Self], tuple[Path, Sequence[int] | None]]:
        return type(self), (self.path, self._among)

    def read(self, index: int) -> npt.NDArray[Any]:
        """A plane, as a new array."""
        if self._stored is not None:
            return self._meaning.pixels(np.asarray(self._stored.read(index, index + 1)[0]))
        with reading(self.path, f"TIFF, page {index} of {self.count}"):
            return self._meaning.pixels(np.asarray(self._pages[index].asarray(maxworkers=1)))

    def fill(self, out: npt.NDArray[Any], index: int, rows: slice, columns: slice) -> None:
        """Fill ``out`` with a window of a plane."""
        if self._stored is not None and self._meaning.is_plain:
            self._stored.fill(out, index, rows, columns)
        else:
            out[...] = self.read(index)[rows, columns]

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._stored is not None:
            self._stored.file.close()


def _series_of(tiff: tifffile.TiffFile) -> Sequence[Any]:
    """The decoder's series; none where it takes the first page for all, and meets another one."""
    try:
        return tiff.series
    except RuntimeError as error:
        if "keyframe" not in str(error):
            raise
        return []


def _pages_of(
    tiff: tifffile.TiffFile, series: Sequence[Any], among: Sequence[int] | None
) -> tuple[list[Any], list[Any]]:
    """All pages of a file, in order, and those that stand for others of their size and tags."""
    heads = [part.keyframe for part in series]
    if len({(head.shape, head.dtype) for head in heads}) != 1 and among is not None:
        # As they lie in the file, each with its own tags: series are by size.
        pages = [tiff.pages.get(k, aspage=True) for k in range(len(tiff.pages))]
        return pages, [pages[k] for k in among if k < len(pages)]
    # A program that writes pages one at a time makes each page a series of its own.
    return [page for part in series for page in part.pages], heads


def _planes_behind(tiff: tifffile.TiffFile) -> int:
    """How many planes lie behind the only page of a file, as ImageJ writes files of more than 4 GB; else 0."""
    if len(tiff.pages) > 1 or len(tiff.series) != 1:
        return 0
    page, shape = tiff.pages.first, tiff.series[0].shape
    n = int(np.prod(shape, dtype=np.int64) // np.prod(page.shape, dtype=np.int64))
    if n < 2 or page.compression != 1 or not page.is_contiguous:
        return 0
    start, stop = page.dataoffsets[0], page.dataoffsets[0] + n * page.nbytes
    # A description may be wrong: what it takes for planes must not be what the tags say.
    others = (page.offset, *(tag.valueoffset for tag in page.tags))
    return 0 if stop > tiff.filehandle.size or any(start <= at < stop for at in others) else n
