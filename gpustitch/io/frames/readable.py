"""Frames of which some are not there, and some may turn out to be unreadable; and what to say about them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError
from gpustitch.io.failures import is_lack
from gpustitch.model import Frames, layout_of, part_axis, read_into
from gpustitch.model.runs import ranges_text


class Readable:
    """Frames, of which only those are read that are there; absent ones are zeros. Several threads may read at once.

    Parameters
    ----------
    frames
        The frames.
    skips
        Whether a frame that cannot be read becomes absent, from then on and for every reader.

    Attributes
    ----------
    absent
        Frames that no file holds, and those that could not be read so far.
    unreadable
        For each frame that could not be read, the reason.
    """

    def __init__(self, frames: Frames, *, skips: bool = False) -> None:
        self.frames = frames
        self.part_axis, self.layout = part_axis(frames), layout_of(frames)
        self.shape = frames.shape
        self.dtype: np.dtype[Any] = frames.dtype
        self.absent = frozenset(frames.absent)
        self.unreadable: Mapping[int, str] = {}
        self._skips = skips
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Frames ``start <= f < stop``, cut to ``rows`` and ``columns``.

        Raises
        ------
        DamagedInputError
            If a frame cannot be read and is not to be skipped.
        """
        absent = self.absent.intersection(range(start, stop))
        if not absent:
            try:
                return self.frames.read(start, stop, rows, columns)
            except DamagedInputError as error:
                if not self._skips or is_lack(error):
                    raise
        shape = (stop - start, len(range(self.shape[1])[rows]), len(range(self.shape[2])[columns]))
        out = np.zeros(shape, self.dtype)
        for number in sorted(set(range(start, stop)) - absent):
            self._read_one(number, out[number - start], rows, columns)
        return out

    def read_into(self, start: int, stop: int, rows: slice, columns: slice, out: npt.NDArray[Any]) -> None:
        """Like :meth:`read`, into ``out``."""
        if not self.absent.intersection(range(start, stop)):
            try:
                read_into(self.frames, start, stop, rows, columns, out)
                return
            except DamagedInputError as error:
                if not self._skips or is_lack(error):
                    raise
        out[...] = self.read(start, stop, rows, columns)

    def lose(self, unreadable: Mapping[int, str]) -> None:
        """Learn of frames that an earlier run could not read, and why."""
        with self._lock:
            self.unreadable = {**self.unreadable, **unreadable}
            self.absent = self.absent.union(unreadable)

    def _read_one(self, number: int, out: npt.NDArray[Any], rows: slice, columns: slice) -> None:
        try:
            out[...] = self.frames.read(number, number + 1, rows, columns)[0]
        except DamagedInputError as error:
            if not self._skips or is_lack(error):
                raise
            with self._lock:  # both are replaced, not changed: other threads may be reading them
                self.unreadable = {**self.unreadable, number: str(error)}
                self.absent = self.absent | {number}


@dataclass(frozen=True)
class Lost:
    """Frames that a result lacks, by their number in the input.

    ``missing`` are in no file, ``unreadable`` could not be read and says why. ``n_frames`` counts the others too.
    """

    n_frames: int
    missing: tuple[int, ...] = ()
    unreadable: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, frames: Readable, first: int = 0) -> Lost:
        """What ``frames`` lack so far; ``first`` is the number of their first frame in the input."""
        missing = sorted(frames.absent.difference(frames.unreadable))
        unreadable = {first + number: reason for number, reason in sorted(frames.unreadable.items())}
        return cls(frames.shape[0], tuple(first + number for number in missing), unreadable)

    @property
    def facts(self) -> dict[str, Any]:
        """The losses in JSON's types; :meth:`of_facts` makes them of these again."""
        unreadable = {str(number): reason for number, reason in self.unreadable.items()}
        return {"n_frames": self.n_frames, "missing": list(self.missing), "unreadable": unreadable}

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Lost:
        """The losses that :attr:`facts` holds."""
        unreadable = {int(number): str(reason) for number, reason in facts["unreadable"].items()}
        return cls(facts["n_frames"], tuple(facts["missing"]), unreadable)

    def __len__(self) -> int:
        return len(self.missing) + len(self.unreadable)

    def lines(self, fate: str = "uncovered") -> Iterator[str]:
        """A line for people about each kind of loss; ``fate`` is what became of the frames."""
        if self.missing:
            verb = "frame is" if len(self.missing) == 1 else "frames are"
            yield f"{len(self.missing)} {verb} absent ({ranges_text(self.missing)}): {fate}"
        if self.unreadable:
            count = "1 frame" if len(self.unreadable) == 1 else f"{len(self.unreadable)} frames"
            reason = next(iter(self.unreadable.values()))
            yield f"{count} cannot be read ({ranges_text(self.unreadable)}): {fate}; {reason}"

    @property
    def record(self) -> dict[str, Any]:
        """The losses for a record of provenance: counts, numbers as ranges, reasons."""
        return {
            "absent_frames": {"count": len(self.missing), "frames": ranges_text(self.missing, None)},
            "unreadable_frames": {
                "count": len(self.unreadable),
                "frames": ranges_text(self.unreadable, None),
                "reasons": {str(number): reason for number, reason in self.unreadable.items()},
            },
        }

    def check_any_left(self, source: object) -> None:
        """Raise DamagedInputError if no frame of ``source`` could be used."""
        if len(self) >= self.n_frames:
            raise DamagedInputError(
                f"{source}: none of its {self.n_frames} frames can be read: {' '.join(self.lines())}"
            )
