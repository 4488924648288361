"""What a run over frames has read, noted for a run that goes on after it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from gpustitch.io.checked import table, text, told, whole
from gpustitch.io.frames.readable import Readable
from gpustitch.io.journal import Journal

_UNIT = "frames/"


class ReadBatches:
    """Batches of frames in a journal: pixels that were cut off, and frames that could not be read.

    Parameters
    ----------
    journal
        Of the run.
    frames
        The frames; those that an earlier run could not read become absent.
    """

    def __init__(self, journal: Journal, frames: Readable) -> None:
        self._journal, self._frames = journal, frames
        for unit, facts in journal.units.items():
            if unit.startswith(_UNIT):
                with self._told():
                    lost = table(facts["unreadable"], "unreadable")
                    frames.lose({int(number): text(reason, "reason") for number, reason in lost.items()})

    def found(self, start: int, stop: int) -> int | None:
        """As :class:`gpustitch.oblique.deskew.sweep.Batches` says."""
        facts = self._journal.found(f"{_UNIT}{start}-{stop}")
        if facts is None:
            return None
        with self._told():
            return whole(facts["cut_off"], "cut_off")

    def done(self, start: int, stop: int, n_cut_off: int) -> None:
        """As :class:`gpustitch.oblique.deskew.sweep.Batches` says."""
        lost = {str(n): reason for n, reason in sorted(self._frames.unreadable.items()) if start <= n < stop}
        self._journal.add(f"{_UNIT}{start}-{stop}", {"cut_off": n_cut_off, "unreadable": lost})

    def _told(self) -> AbstractContextManager[None]:
        return told(self._journal.path, "the frames of an unfinished run", "begin anew with `restart`")
