"""Reads that several users share are done once, and held until the last user gives them back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gpustitch.errors import DamagedInputError
from gpustitch.regrid.shared_reads import SharedReads


def test_each_key_is_read_once_and_held_for_its_users():
    calls = []

    def read(key):
        calls.append(key)
        return np.full((key, 2), key)

    reads = SharedReads(read, {1: 2, 2: 1})
    first, n_first = reads.take([1, 2])
    again, n_again = reads.take([1])
    assert calls == [1, 2] and (n_first, n_again) == (3, 0)
    assert again[1] is first[1] and first[2].tolist() == [[2, 2], [2, 2]]
    reads.give_back([1, 2])
    assert reads.take([1])[1] == 0, "one user has not given it back"
    reads.give_back([1])
    assert reads.take([1, 2])[1] == 3 and calls == [1, 2, 1, 2]


def test_threads_that_need_one_key_wait_for_one_read():
    begun, go_on, calls = threading.Event(), threading.Event(), []

    def read(key):
        calls.append(key)
        begun.set()
        assert go_on.wait(10)
        return np.zeros((1, 1))

    reads = SharedReads(read, {0: 2})
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(reads.take, [0])
        assert begun.wait(10)
        second = pool.submit(reads.take, [0])
        go_on.set()
        assert first.result()[0][0] is second.result()[0][0]
    assert calls == [0]


def test_a_read_that_fails_is_an_error_to_all_who_need_it():
    def read(key):
        raise DamagedInputError(f"plane {key} is damaged")

    reads = SharedReads(read, {3: 2})
    for _ in range(2):
        with pytest.raises(DamagedInputError, match="plane 3"):
            reads.take([3])
