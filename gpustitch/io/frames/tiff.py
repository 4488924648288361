"""Frames in TIFF files: one per file, or the pages of some."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError
from gpustitch.io.frames.format import FRAME_TYPES, Files, FrameFormat, Reading
from gpustitch.io.frames.stacks import OneFilePerFrame, Stack, checked_frame
from gpustitch.io.images.files import TIFF_SUFFIXES, reading
from gpustitch.io.images.tiff_facts import tiff_facts
from gpustitch.io.images.tiff_meaning import meaning_of
from gpustitch.io.images.tiff_open import opened_tiff, tiff_alone
from gpustitch.io.images.tiff_pages import TiffPlanes
from gpustitch.model import Frames, Spacing

_MOST_OPEN = 16  # files of several pages that stay open: threads read neighbours


class TiffFrames(OneFilePerFrame):
    """TIFF files of one page each in the order given (:class:`gpustitch.model.Frames`).

    May be read from several threads. ``types`` names the types that pixels may have.

    Raises
    ------
    InputMissingError
        If there is no file.
    DamagedInputError
        If a file is not a TIFF, or its size or type differs from the first file's.
    """

    def __init__(
        self, paths: Iterable[str | Path], types: Sequence[str] = FRAME_TYPES, *, skip_damaged: bool = False
    ) -> None:
        super().__init__([Path(p) for p in paths], _describe_tiff, _load_tiff, types, skip_damaged)


class TiffPages(Stack):
    """The pages of one TIFF, in file order (:class:`gpustitch.model.Frames`).

    ``types`` names the types that pixels may have. ``pages`` are the numbers of the pages to take; by default all.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If the file is not a TIFF, ends early, or its pages differ in size or type.
    """

    def __init__(
        self, path: str | Path, types: Sequence[str] = FRAME_TYPES, pages: Sequence[int] | None = None
    ) -> None:
        self.path = Path(path)
        self.name = str(self.path)
        self._planes = TiffPlanes(self.path, pages)
        frame, self.dtype = checked_frame(self.path, self._planes.shape, self._planes.dtype, types)
        self._pages = range(self._planes.count) if pages is None else tuple(pages)
        self.shape = (len(self._pages), *frame)

    def _frame(self, index: int) -> npt.NDArray[Any]:
        return self._planes.read(self._pages[index])

    def _fill(self, out: npt.NDArray[Any], index: int, rows: slice, columns: slice) -> None:
        self._planes.fill(out, self._pages[index], rows, columns)


class TiffPagesOfFiles(Stack):
    """Pages of several TIFFs, by file and page in the order given; ``types`` as of :class:`TiffPages`.

    Raises
    ------
    InputMissingError, DamagedInputError
        As :class:`TiffPages`; also if a file's planes differ from the first file's in size or type.
    """

    def __init__(self, pages: Sequence[tuple[Path, int]], types: Sequence[str] = FRAME_TYPES) -> None:
        self.name = f"{pages[0][0]} ... {pages[-1][0].name}"
        self._places = tuple(pages)
        first = TiffPages(pages[0][0], types)
        self.dtype, self.shape = first.dtype, (len(pages), *first.shape[1:])
        self._opened: OrderedDict[Path, TiffPages] = OrderedDict()
        self._lock = threading.Lock()
        for file in dict.fromkeys(file for file, _ in pages):
            self._checked(file, types)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _checked(self, file: Path, types: Sequence[str]) -> TiffPages:
        opened = TiffPages(file, types)
        if opened.shape[1:] != self.shape[1:] or opened.dtype != self.dtype:
            raise DamagedInputError(
                f"{file} is {opened.dtype} of {opened.shape[1]} x {opened.shape[2]} but {self._places[0][0]} is "
                f"{self.dtype} of {self.shape[1]} x {self.shape[2]}; all frames of a stack must be alike"
            )
        return opened

    def _frame(self, index: int) -> npt.NDArray[Any]:
        file, page = self._places[index]
        with self._lock:
            if file not in self._opened:
                self._opened[file] = self._checked(file, [self.dtype.name])
            self._opened.move_to_end(file)
            if len(self._opened) > _MOST_OPEN:
                self._opened.popitem(last=False)
            opened = self._opened[file]
        return np.asarray(opened.read(page, page + 1)[0])


def _describe_tiff(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with opened_tiff(path, with_ome=False) as tiff:
        page, n_pages = tiff.pages.first, len(tiff.pages)
        shape = meaning_of(page, path).shape(tuple(page.shape))
        has_room = tiff.filehandle.size >= page.dataoffsets[0] + 2 * page.nbytes
    if n_pages == 1 and has_room:  # more planes may lie behind the page
        planes = TiffPlanes(path)
        planes.close()
        n_pages = planes.count
    if n_pages != 1:
        raise DamagedInputError(f"{path} has {n_pages} pages; in a stack of files each holds one frame")
    return shape, np.dtype(page.dtype)


def _has_one_page(path: Path) -> bool:
    """Whether a TIFF has one page; true if it cannot be read, which is told where it is read."""
    try:
        with opened_tiff(path, with_ome=False) as tiff:
            return len(tiff.pages) == 1
    except DamagedInputError:
        return True


def _load_tiff(path: Path) -> npt.NDArray[Any]:
    with reading(path, "TIFF"), tiff_alone(path) as tiff:
        page = tiff.pages.first
        return meaning_of(page, path).pixels(np.asarray(page.asarray(maxworkers=1)))


class TiffFormat(FrameFormat):
    """TIFF: the pages of one file, or a file of one page for each frame."""

    name = "TIFF"
    suffixes = TIFF_SUFFIXES
    files = Files.BOTH

    def open(self, files: Sequence[Path], reading: Reading) -> Frames:
        """The frames in files."""
        if len(files) == 1:
            return TiffPages(files[0], reading.types)
        return TiffFrames(files, reading.types, skip_damaged=reading.skip_damaged)

    def open_pages(self, pages: Sequence[tuple[Path, int]], reading: Reading) -> Frames:
        """The frames on pages of files, by file and number of the page."""
        files = {file for file, _ in pages}
        if len(files) == 1:
            return TiffPages(pages[0][0], reading.types, [page for _, page in pages])
        are_first = len(files) == len(pages) and not any(page for _, page in pages)
        if are_first and _has_one_page(pages[0][0]):
            return TiffFrames([file for file, _ in pages], reading.types, skip_damaged=reading.skip_damaged)
        return TiffPagesOfFiles(pages, reading.types)

    def stated(
        self, files: Sequence[Path], image: int | None = None
    ) -> tuple[Spacing | None, tuple[float, float, float] | None]:
        """Spacing and place that the first file states."""
        facts = tiff_facts(files[0], image)
        return facts.spacing, facts.origin_um
