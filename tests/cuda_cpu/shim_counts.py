"""What a program asks of the stand-in: transfers, launches and waits, each with the place that asked for it.

Nothing here is a time. A device does what is counted here in the same number, as the calls are the program's own. Each
function of CuPy counts as one launch: some take several, so that the true number is not less.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter

import numpy as np

# Functions that take memory and do nothing with it, and those that the host must wait for, as shapes depend on values.
_NOTHING = {"empty", "empty_like", "shape", "size"}
_WAITS = {"argwhere", "flatnonzero", "nonzero", "unique"}
# Waits of the array layer, by what they are for.
_OF_PLACE = {
    ("gpustitch.array.transfer", "on"): "ends",
    ("gpustitch.array.feed", "take"): "frees",
    ("gpustitch.array.drain", "_wait"): "backs",
}


class Counts:
    """Counts by kind and part, and bytes by kind and part, while :meth:`counted` is entered.

    Kinds are ``uploads`` and ``downloads``; ``staged``, those of the uploads that the calling thread first copies to
    pinned memory; ``behind``, those of the downloads after which the stream that computes goes on; ``bodies``, launches
    of raw kernels; ``calls``, launches of the library's own; ``waits`` of the host inside a block of work; ``ends``,
    waits for the end of such a block; ``frees``, waits for a buffer that is used again; ``backs``, waits for what comes
    back by a stream of its own.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._part_of = None
        self.numbers, self.bytes, self.places = Counter(), Counter(), Counter()

    @contextlib.contextmanager
    def counted(self, part_of):
        """Count from zero. ``part_of`` names the part of a frame of the stack, from the innermost on, or says None."""
        self.numbers, self.bytes, self.places = Counter(), Counter(), Counter()
        self._part_of = part_of
        try:
            yield self
        finally:
            self._part_of = None

    def note(self, kind, n_bytes=0):
        """Count one of a kind."""
        if self._part_of is None:
            return
        part, place = self._asked()
        with self._lock:
            self.numbers[kind, part] += 1
            self.bytes[kind, part] += n_bytes
            self.places[kind, part, place] += 1

    def download(self, n_bytes, *, is_behind):
        """Count a copy to the host that is not waited for: ``is_behind`` if the stream that computes makes it."""
        for kind in ("downloads", "behind")[: 1 + is_behind]:
            self.note(kind, n_bytes)

    def call(self, name, result, taken):
        """Count a function of the library: nothing if it made memory alone, or views of what was ``taken``."""
        if self._part_of is None or name in _NOTHING:
            return
        if name in _WAITS:
            self.note("waits")
        roots = {id(_root(a)) for a in taken if isinstance(a, np.ndarray)}
        made = result if isinstance(result, tuple | list) else [result]
        if not all(isinstance(a, np.ndarray) and id(_root(a)) in roots for a in made):
            self.note("calls")

    def wait(self):
        """Count a wait of the host: at the end of a block of work if the array layer waits there."""
        if self._part_of is not None:
            frame = sys._getframe(2)
            place = frame.f_globals.get("__name__"), frame.f_code.co_name
            self.note(_OF_PLACE.get(place, "waits"))

    def _asked(self):
        """The part, and the innermost place in gpustitch outside its array layer: file and line."""
        frame, place, part = sys._getframe(2), None, None
        while frame is not None and part is None:
            module = frame.f_globals.get("__name__", "")
            if place is None and module.startswith("gpustitch.") and not module.startswith("gpustitch.array"):
                place = f"{module.rpartition('.')[2]}.{frame.f_code.co_name}:{frame.f_lineno}"
            part = self._part_of(module, frame.f_code.co_name)
            frame = frame.f_back
        return part or "", place or ""


def _root(host):
    while getattr(host, "base", None) is not None:
        host = host.base
    return host


COUNTS = Counts()
