"""Tells processes that were forked where tensorstore had been used: it would end them without a word to Python."""

from __future__ import annotations

import os

from gpustitch.errors import ResourceError

_users: set[int] = set()


def uses_tensorstore() -> None:
    """Call before tensorstore reads or writes.

    Its threads are not there in a forked process, and it aborts there if it was used before, in the parent.

    Raises
    ------
    ResourceError
        If this process was forked from one that had used it.
    """
    own = os.getpid()
    if own not in _users:
        if _users:
            raise ResourceError(
                "this process was forked from one that had read or written a volume, which tensorstore does not "
                'survive; start processes afresh: multiprocessing.get_context("spawn") or ("forkserver")'
            )
        _users.add(own)
