"""Rows of corrected frames that later bands need, in files of the run: so each frame is read and corrected once."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import OutputError
from gpustitch.oblique.stream.windows import Kept


class Spool:
    """The rows of one tile's frames that are kept, in a file; only this object knows which frames are there.

    Several threads may put and read different frames. Nothing holds the file open, so that any number of tiles may
    have one.

    Attributes
    ----------
    rows, columns
        What is kept of each frame.
    stop
        The row of the mosaic where the last band ends that needs them.
    """

    def __init__(self, path: Path, kept: Kept, dtype: np.dtype[Any]) -> None:
        (columns, rows, _), (n_columns, n_rows, n_frames) = kept.box.slices(), kept.box.shape
        self.rows, self.columns, self.stop = rows, columns, kept.stop
        self._path, self._dtype = path, dtype
        self._shape = n_rows, n_columns
        self._there = np.zeros(n_frames, np.bool_)
        path.touch()

    def has(self, frame: int) -> bool:
        """Whether a frame is there."""
        return bool(self._there[frame])

    def put(self, frame: int, pixels: npt.NDArray[Any]) -> None:
        """Keep the ``rows`` and ``columns`` of a frame.

        Raises
        ------
        OSError
            If the disk is full, or fails.
        """
        view = np.ascontiguousarray(pixels, self._dtype).view(np.uint8).data.cast("B")
        with self._path.open("r+b", buffering=0) as file:
            file.seek(frame * view.nbytes)
            while view:
                view = view[file.write(view) or 0 :]
        self._there[frame] = True

    def read(self, frame: int, rows: slice) -> npt.NDArray[Any]:
        """Rows of a frame, counted as in the tile, at the ``columns`` that are kept.

        Raises
        ------
        OSError
            If the file is gone, or the disk fails.
        OutputError
            If another program cut the file off.
        """
        n_rows, n_columns = self._shape
        out = np.empty((rows.stop - rows.start, n_columns), self._dtype)
        view = out.view(np.uint8).data.cast("B")
        with self._path.open("rb", buffering=0) as file:
            file.seek((frame * n_rows + rows.start - self.rows.start) * n_columns * self._dtype.itemsize)
            while view:
                count = file.readinto(view)
                if not count:
                    raise OutputError(f"{self._path}: another program cut off what was written so far; run again")
                view = view[count:]
        return out

    def remove(self) -> None:
        """Remove the file."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


class Spools:
    """The spools of the tiles that reach into several bands, by the tile's number, in a folder of their own.

    A context manager; what is still there then goes.

    Parameters
    ----------
    kept
        What is to be kept.
    dtype
        Type of the corrected pixels.
    parent
        Where the folder is made, if there is anything to keep.
    """

    def __init__(self, kept: Iterable[Kept], dtype: np.dtype[Any], parent: Path) -> None:
        self._kept, self._dtype, self._parent = tuple(kept), dtype, parent
        self._spools: dict[int, Spool] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Spools:
        if self._kept:
            self._parent.mkdir(parents=True, exist_ok=True)
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rows-", dir=self._parent)))
            for kept in self._kept:
                self._spools[kept.tile] = Spool(folder / f"{kept.tile}", kept, self._dtype)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def of(self, tile: int) -> Spool | None:
        """The spool of a tile; None if it has none."""
        return self._spools.get(tile)

    def leave(self, band: int) -> None:
        """Remove what only the bands up to this one need."""
        for kept in self._kept:
            if kept.last <= band and kept.tile in self._spools:
                self._spools.pop(kept.tile).remove()
