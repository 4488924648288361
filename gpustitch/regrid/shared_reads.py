"""Reads that several pieces of work share: each is done once, and held until its last user gives it back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future

from gpustitch.model.arrays import HostArray


class SharedReads:
    """The results of ``read``, each held for a given number of users.

    Several threads may use one object: threads that need the same key share one read.

    Parameters
    ----------
    read
        Gives the array of a key.
    users
        How many users will take and give back each key.
    """

    def __init__(self, read: Callable[[int], HostArray], users: Mapping[int, int]) -> None:
        self._read = read
        self._left = Counter(users)
        self._reads: dict[int, Future[HostArray]] = {}
        self._turn = threading.Lock()

    def take(self, keys: Iterable[int]) -> tuple[dict[int, HostArray], int]:
        """The arrays of some keys, and the number of planes (along the first axis) that this call read.

        If a read fails, every caller that needs it raises the error.
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
        # Every read that this thread began is done: no thread waits for this one while this one waits for others.
        return {key: self._reads[key].result() for key in wanted}, n_read

    def give_back(self, keys: Iterable[int]) -> None:
        """Say that one user is done with some keys."""
        with self._turn:
            for key in keys:
                self._left[key] -= 1
                if self._left[key] <= 0:
                    self._reads.pop(key, None)
