"""Books of the stand-in for CuPy: which stream wrote and read each array last, and what each stream has waited for.

The stand-in does everything at once, so that a race of streams would never show in its results. These books know what a
device promises: work on one stream is done in order; work on another is done before only if that stream, an event of it
or the device was waited for. CuPy gives freed memory back to the stream on which it was made, at once. So it is a fault

- to read what another stream wrote, or to write what another stream wrote or reads, without having waited for it;
- to free what a stream other than the one that made it may still read or write;
- to change memory of the host from which, or to which, a copy is made that was not waited for, or to copy it again.

A copy to memory of the host happens as late as a device may make it: when its stream, or an event after it, is waited
for. Until then nothing useful is there.

Code that has such a fault may give right results a thousand times. ``shim.installed()`` raises :class:`StreamFault`.
"""

from __future__ import annotations

import functools
import itertools
import sys
import threading
import weakref
from pathlib import Path

import numpy as np

_NOT_TOLD = ("tests.cuda_cpu.shim", "gpustitch.array")
# Bytes that a copy finds, and leaves until it is waited for.
_NOTHING_USEFUL = 0xA5
# Enough to see what is wrong.
_MOST_TOLD = 5


class StreamFault(AssertionError):
    """Streams that do not wait for each other use the same memory."""


class Clock:
    """How far a stream is, and how far others are that it has waited for: steps by the number of a stream."""

    _numbers = itertools.count(1)

    def __init__(self):
        self.number = next(Clock._numbers)
        self.at = 0
        self.seen = {}

    def reached(self):
        """What is done when the last work on this stream is."""
        return {**self.seen, self.number: self.at}

    def wait_for(self, reached):
        """Work from now on comes after this."""
        _advance(self.seen, reached)


class _Block:
    """Memory of one array and its views."""

    def __init__(self, clock, where, alive):
        self.maker, self.alive = clock, alive
        self.written = (clock.number, clock.at, where)
        self.read = {}


class Books:
    """What the streams of one device do with arrays, in the order in which threads ask for it."""

    def __init__(self):
        # The garbage collector may free an array while another is noted.
        self._lock = threading.RLock()
        self._blocks = {}
        self._clocks = set()
        self._done = {}
        self._faults = []
        self._later = []

    def later(self, clock, act, filled=None):
        """What a stream does with memory of the host after all that it was given: done once it is waited for."""
        with self._lock:
            self._step(clock)
            self._later.append((clock.number, clock.at, act, filled))

    def unchanged(self, clock, host):
        """A stream copies from memory of the host."""
        self._not_on_its_way(host, "copied from")
        kept, where = host.tobytes(), _where()

        def compare():
            if host.tobytes() != kept:
                self._faults.append(f"memory of the host changes before the copy from it is waited for, {_said(where)}")

        self.later(clock, compare)

    def filled(self, clock, host, elements):
        """A stream copies elements to memory of the host."""
        self._not_on_its_way(host, "copied to")
        where, content = _where(), host.view(np.uint8)
        content[...] = _NOTHING_USEFUL

        def copy():
            if (content != _NOTHING_USEFUL).any():
                self._faults.append(f"memory of the host changes before the copy to it is waited for, {_said(where)}")
            np.copyto(host, elements)

        self.later(clock, copy, host)

    def _not_on_its_way(self, host, what):
        """A fault if a copy to this memory of the host has not been waited for."""
        with self._lock:
            if any(filled is not None and np.may_share_memory(host, filled) for *_, filled in self._later):
                told = f"memory of the host is {what} {_said(_where())} before an earlier copy to it is waited for"
                self._faults.append(told)

    def _settle(self):
        """Do what was waited for."""
        due = [item for item in self._later if self._done.get(item[0], 0) >= item[1]]
        self._later = [item for item in self._later if self._done.get(item[0], 0) < item[1]]
        for _, _, act, _ in due:
            act()

    def make(self, host, clock):
        """Note an array that was made on a stream; views are noted with what they are views of."""
        root = _root(host)
        with self._lock:
            if id(root) not in self._blocks:
                self._step(clock)
                self._blocks[id(root)] = _Block(
                    clock, _where(), weakref.ref(root, functools.partial(self._gone, id(root)))
                )

    def use(self, host, clock, *, writes=False):
        """Note that work on a stream reads, or writes, an array."""
        with self._lock:
            self.make(host, clock)
            block = self._blocks[id(_root(host))]
            self._step(clock)
            where = _where()
            self._check(clock, block.written, "is written" if writes else "is read", where, "wrote it")
            if writes:
                for number, (at, there) in block.read.items():
                    self._check(clock, (number, at, there), "is written", where, "reads it")
                block.written, block.read = (clock.number, clock.at, where), {}
            else:
                block.read[clock.number] = (clock.at, where)

    def done(self, reached):
        """The host has waited for this."""
        with self._lock:
            _advance(self._done, reached)
            self._settle()

    def all_done(self):
        """The host has waited for all streams."""
        with self._lock:
            for clock in self._clocks:
                _advance(self._done, clock.reached())
            self._settle()

    def forget_faults(self):
        """Drop what was found, and what was never waited for; returns what was found."""
        with self._lock:
            faults, self._faults, self._later = self._faults, [], []
        return faults

    def raise_faults(self):
        """Raise what was found since the last call."""
        if faults := self.forget_faults():
            more = [f"and {len(faults) - _MOST_TOLD} more"] if len(faults) > _MOST_TOLD else []
            raise StreamFault("\n".join([*faults[:_MOST_TOLD], *more]))

    def _step(self, clock):
        self._clocks.add(clock)
        clock.at += 1

    def _gone(self, key, _):
        with self._lock:
            block = self._blocks.pop(key)
            what, where = "is freed", _where()
            self._check(block.maker, block.written, what, where, "may still write it")
            for number, (at, there) in block.read.items():
                self._check(block.maker, (number, at, there), what, where, "may still read it")

    def _check(self, clock, earlier, what, where, does):
        number, at, there = earlier
        if number != clock.number and max(self._done.get(number, 0), clock.seen.get(number, 0)) < at:
            told = f"an array {what} {_said(where)} without waiting for the stream that {does}, {_said(there)}"
            self._faults.append(told)


def _advance(reached, other):
    for number, at in other.items():
        reached[number] = max(at, reached.get(number, 0))


def _root(host):
    """The array that owns the memory."""
    while getattr(host, "base", None) is not None:
        host = host.base
    return host


def _where():
    """The innermost place outside the stand-in, the array layer and the libraries: file and line."""
    frame = sys._getframe(1)
    while frame.f_back is not None and not _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _said(where):
    return f"at {Path(where[0]).name}:{where[1]}"


@functools.cache
def _is_ours(module):
    return module.partition(".")[0] in ("gpustitch", "tests", "bench") and not module.startswith(_NOT_TOLD)


BOOKS = Books()
