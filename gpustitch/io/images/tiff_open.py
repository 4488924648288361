"""Opening a TIFF: a file that ends early, or is damaged between pages, is never taken for a shorter file."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import tifffile

from gpustitch.errors import DamagedInputError
from gpustitch.io.images.reading import reading

# Damage that tifffile only logs: the chain of pages leaves the file, or the pages do not fit the description.
_BROKEN = re.compile(r"invalid page offset|invalid offset to page|failed to reshape|series metadata invalid")


@contextlib.contextmanager
def opened_tiff(path: Path, *, with_ome: bool = True) -> Iterator[tifffile.TiffFile]:
    """A TIFF with all its pages, closed when the ``with`` block ends; no other file that it names is opened.

    Without ``with_ome`` its OME description, which may be long, is not looked at.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If the file is not a TIFF, or ends before its last page does.
    """
    with reading(path, "TIFF"), open_tiff(path, with_ome=with_ome) as tiff:
        yield tiff


def tiff_alone(path: Path, *, is_ome: bool | None = None, is_imagej: bool | None = None) -> tifffile.TiffFile:
    """The file as its own pages, in their order; the decoder's errors pass unchanged.

    Otherwise the decoder adds the files beside one of Micro-Manager, and sorts the pages by another index than OME's.
    ``is_ome`` and ``is_imagej`` False leave such a description alone; by default the decoder looks for it.
    """
    return tifffile.TiffFile(
        path, _multifile=False, is_mmstack=False, is_ndtiff=False, is_ome=is_ome, is_imagej=is_imagej
    )


def open_tiff(path: Path, *, with_ome: bool = True) -> tifffile.TiffFile:
    """Like :func:`opened_tiff`, for a file that stays open; the decoder's own errors pass unchanged."""
    with _complaints() as said:
        tiff = tiff_alone(path, is_ome=None if with_ome else False)
        try:
            n_pages, series = len(tiff.pages), tiff.series
            last = tiff.pages[n_pages - 1]
        except BaseException:
            tiff.close()
            raise
    size = tiff.filehandle.size
    ends = [part.dataoffset + part.nbytes for part in series if part.dataoffset is not None]
    ends += [offset + count for offset, count in zip(last.dataoffsets, last.databytecounts, strict=False)]
    if max(ends, default=0) > size or any(_BROKEN.search(text) for text in said):
        tiff.close()
        raise DamagedInputError(f"{path} is cut short or damaged; at most {n_pages} of its pages can be read")
    return tiff


class _Kept(logging.Handler):
    """Keeps the messages that this thread logs."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of a record."""
        if record.thread == self._thread:
            self.texts.append(record.getMessage())


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect the messages that tifffile logs inside the ``with`` block, and print none of them."""
    kept, logger = _Kept(), logging.getLogger("tifffile")
    logger.addHandler(kept)
    try:
        yield kept.texts
    finally:
        logger.removeHandler(kept)
