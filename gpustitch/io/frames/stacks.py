"""The shared parts of stacks of frames in image files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.frames.format import FRAME_TYPES

Described = tuple[tuple[int, ...], np.dtype[Any]]  # shape and dtype of a frame


class Stack(ABC):
    """Frames that ``_frame`` reads one at a time."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    name: str
    absent: frozenset[int] = frozenset()

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Frames ``start <= f < stop``, cut to ``rows`` and ``columns``, as a new array.

        Raises
        ------
        ParameterError
            If the range is not inside the stack.
        DamagedInputError
            If a file cannot be decoded, or its size changed since the stack was opened.
        """
        n_frames, n_rows, n_columns = self.shape
        if not 0 <= start <= stop <= n_frames:
            raise ParameterError(f"{self.name} has frames 0 to {n_frames - 1}; {start}..{stop - 1} are not all there")
        shape = (stop - start, len(range(n_rows)[rows]), len(range(n_columns)[columns]))
        out = np.empty(shape, self.dtype)
        for index in range(start, stop):
            self._fill(out[index - start], index, rows, columns)
        return out

    def _fill(self, out: npt.NDArray[Any], index: int, rows: slice, columns: slice) -> None:
        """Fill ``out`` with a window of a frame; formats that read windows do it without the rest of the frame."""
        out[...] = self._frame(index)[rows, columns]

    @abstractmethod
    def _frame(self, index: int) -> npt.NDArray[Any]:
        """The pixels of a frame."""


class OneFilePerFrame(Stack):
    """Image files in the order given, one for each frame; formats derive from this class.

    Parameters
    ----------
    paths
        The files.
    describe
        Gives the shape and dtype of a file, without reading its pixels.
    load
        Gives the pixels of a file.
    types
        Names of the dtypes that pixels may have.
    skip_damaged
        Take damaged files too; only reading their frames raises.

    Raises
    ------
    InputMissingError
        If there is no file.
    DamagedInputError
        If a file is not a single grey image, or its size or type differs from the first readable file's.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        describe: Callable[[Path], Described],
        load: Callable[[Path], npt.NDArray[Any]],
        types: Sequence[str] = FRAME_TYPES,
        skip_damaged: bool = False,
    ) -> None:
        self.paths = tuple(paths)
        if not self.paths:
            raise InputMissingError("a stack needs at least one image file")
        self.name = f"{self.paths[0]} ... {self.paths[-1].name}" if len(self.paths) > 1 else str(self.paths[0])
        self._load = load
        found, self._damaged = _described(self.paths, describe, skip_damaged)
        place, first = next(iter(found.items()))
        shape, self.dtype = checked_frame(place, *first, types)
        for path, other in found.items():
            if other != first:
                raise DamagedInputError(
                    f"{path} is {other[1]} of {_by(other[0])} but {place} is {first[1]} of {_by(shape)}; "
                    "all frames of a stack must be alike"
                )
        self.shape = (len(self.paths), *shape)

    def _frame(self, index: int) -> npt.NDArray[Any]:
        path = self.paths[index]
        if path in self._damaged:
            raise DamagedInputError(self._damaged[path])
        frame = self._load(path)
        if frame.shape != self.shape[1:] or frame.dtype != self.dtype:
            raise DamagedInputError(
                f"{path} is {frame.dtype} of {_by(frame.shape)}; it was {self.dtype} of {_by(self.shape[1:])} before"
            )
        return frame


def _described(
    paths: Sequence[Path], describe: Callable[[Path], Described], skip_damaged: bool
) -> tuple[dict[Path, Described], dict[Path, str]]:
    """Shape and dtype of each file and, for damaged files that are skipped, the reason; raises if all are damaged."""
    found: dict[Path, Described] = {}
    damaged: dict[Path, str] = {}
    for path in paths:
        try:
            found[path] = describe(path)
        except DamagedInputError as error:
            damaged[path] = str(error)
            if not skip_damaged or len(damaged) == len(paths):
                raise
    return found, damaged


def checked_frame(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], types: Sequence[str]
) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Shape and type of a frame; DamagedInputError if the frame is not grey or its type is not in ``types``."""
    if len(shape) != 2:
        raise DamagedInputError(f"{path} holds an image of shape {shape}; frames are grey, rows x columns")
    if dtype.name not in types:
        raise DamagedInputError(f"{path} holds {dtype} pixels; frames are {', '.join(types)}")
    return (int(shape[0]), int(shape[1])), dtype.newbyteorder("=")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
