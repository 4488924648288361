"""Frames in TIFF files: one per file, or the pages of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from gpustitch.errors import DamagedInputError
from gpustitch.io.frames.format import FRAME_TYPES, Files, FrameFormat, Reading
from gpustitch.io.frames.stacks import OneFilePerFrame, Stack, checked_frame
from gpustitch.io.images.files import TIFF_SUFFIXES, reading
from gpustitch.io.images.tiff_facts import tiff_facts
from gpustitch.io.images.tiff_open import open_tiff, opened_tiff
from gpustitch.model import Frames, Spacing


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
    """The pages of one TIFF or ImageJ hyperstack, in file order (:class:`gpustitch.model.Frames`).

    ``types`` names the types that pixels may have.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If the file is not a TIFF, ends early, or its pages differ in size or type.
    """

    def __init__(self, path: str | Path, types: Sequence[str] = FRAME_TYPES) -> None:
        self.path = Path(path)
        self.name = str(self.path)
        with reading(self.path, "TIFF"):
            self._file = open_tiff(self.path)
            self._file.filehandle.set_lock(True)
            series = self._file.series
            # A program that writes pages one at a time makes each page a series of its own.
            pages = [page for part in series for page in part.pages] if len(series) > 1 else []
            if len({(part.keyframe.shape, part.dtype) for part in series}) != 1:
                raise DamagedInputError(f"{self.path} has {len(pages)} pages of different sizes or types")
            shape = tuple(series[0].keyframe.shape)
            frame, self.dtype = checked_frame(self.path, shape, np.dtype(series[0].dtype), types)
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

    def spacing(self, files: Sequence[Path]) -> Spacing | None:
        """The spacing that the first file states; DamagedInputError if a lone file has images along several axes."""
        facts = tiff_facts(files[0])
        several = {axis: n for axis, n in facts.lengths.items() if n > 1}
        if len(files) == 1 and len(several) > 1:
            found = ", ".join(f"{axis} {n}" for axis, n in several.items())
            raise DamagedInputError(
                f"{files[0]} has images along several axes ({found}); one stack of planes was expected. "
                "Save the channel and time to be read in a file of its own"
            )
        return facts.spacing
