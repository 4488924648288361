"""Reads that several pieces of work need: each done once, and held until the last of them has it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future

from gpustitch.model.arrays import HostArray


class SharedReads:
    """What ``read`` gives for keys, for as many users of each key as said.

    May be used by several threads: those that need the same keys share the reading of them.

    Parameters
    ----------
    read
        Gives the array of a key.
    users
        How often each key will be taken and given back.
    """

    def __init__(self, read: Callable[[int], HostArray], users: Mapping[int, int]) -> None:
        self._read = read
        self._left = Counter(users)
        self._reads: dict[int, Future[HostArray]] = {}
        self._turn = threading.Lock()

    def take(self, keys: Iterable[int]) -> tuple[dict[int, HostArray], int]:
        """The arrays of some keys, and the number of planes (of their first axis) that were read here for them.

        An error of a read is raised by all that need it.
        """
        wanted = list(keys)
        n_read = 0
        for key in wanted:
            with self._turn:
                if key in self._reads:
                    continue
                own: Future[HostArray] = Future()
                self._reads[key] = own
            try:
                array = self._read(key)
            except BaseException as error:
                own.set_exception(error)
                raise
            own.set_result(array)
            n_read += len(array)
        # All that this thread began is done: nobody waits for it while it waits for others.
        return {key: self._reads[key].result() for key in wanted}, n_read

    def give_back(self, keys: Iterable[int]) -> None:
        """Say that one user is done with some keys."""
        with self._turn:
            for key in keys:
                self._left[key] -= 1
                if self._left[key] <= 0:
                    self._reads.pop(key, None)
