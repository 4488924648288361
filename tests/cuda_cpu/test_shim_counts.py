"""What the stand-in counts is what the program asked for, where it asked, and nothing when nobody counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.array import Device, fetched, on, to_device, to_host
from gpustitch.array.drain import Drain
from gpustitch.array.feed import Feed
from gpustitch.ops.pyramid import downsample
from tests.cuda_cpu import build, shim

DEVICE = Device(0, "cuda:0: emulated", 1 << 30)
pytestmark = pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "the emulator works")


def counted(work):
    """Counts and bytes of work, all of one part."""
    with shim.installed() as cupy, shim.COUNTS.counted(lambda *_: "all") as counts:
        work(cupy)
    return {k: n for (k, _), n in counts.numbers.items()}, {k: n for (k, _), n in counts.bytes.items() if n}


@given(st.integers(1, 30), st.integers(0, 3))
def test_transfers_with_their_bytes_and_waits(n, more):
    def work(cupy):
        arrays = [cupy.asarray(np.zeros(n, np.uint16)) for _ in range(1 + more)]
        arrays[0].get()
        float(arrays[-1].max())

    numbers, n_bytes = counted(work)
    assert numbers == {"uploads": 1 + more, "staged": 1 + more, "downloads": 2, "calls": 1, "waits": 2}
    assert n_bytes == {"uploads": 2 * n * (1 + more), "staged": 2 * n * (1 + more), "downloads": 2 * n + 2}


def test_views_and_fresh_memory_are_no_launches_and_copies_are():
    def work(cupy):
        a = cupy.empty((4, 6))
        (
            a.T,
            a[1:],
            a.reshape(6, 4),
            cupy.broadcast_to(a, (2, 4, 6)),
            cupy.ascontiguousarray(a),
            a.astype(float, copy=False),
        )

    assert counted(work) == ({}, {})

    def launched(cupy):
        a = cupy.zeros((4, 6))  # 1
        a += 1
        a[:2] = a[2:]
        a[2:] = 3
        cupy.concatenate([a, a]).sum()
        a.T.reshape(-1), a.copy(), a[a > 0]

    assert counted(launched)[0] == {"calls": 1 + 3 + 2 + 3, "waits": 1}


def test_bodies_and_the_ends_of_blocks_of_work():
    def work(cupy):
        with on(DEVICE):
            found = fetched(to_device(np.ones((4, 4, 4), np.uint16), DEVICE))
            downsample(to_device(np.ones((4, 4, 4), np.uint16), DEVICE))
        assert (found == 1).all()

    assert counted(work)[0] == {"uploads": 2, "staged": 2, "downloads": 1, "behind": 1, "bodies": 1, "ends": 1}


def test_what_is_sent_from_pinned_memory_is_neither_staged_nor_waited_for():
    def work(cupy):
        with on(DEVICE):
            taken = Feed(12, 12, DEVICE).take((2, 3), np.uint16)
            taken.host[...] = 7
            with taken.sent(slice(None)) as array:
                assert (array.get() == 7).all()

    assert counted(work)[0] == {"uploads": 1, "downloads": 1, "waits": 1, "ends": 1}


def test_what_comes_back_by_a_stream_of_its_own_is_waited_for_alone():
    def work(cupy):
        drain = Drain(1, DEVICE)
        with drain.place() as place:
            with on(DEVICE):
                array = cupy.zeros((4, 4, 4), np.uint16)
                place.send([array, array[:2]])
            assert not any(part.any() for part in place.received())

    found = counted(work)[0]
    assert found == {"calls": 2, "downloads": 2, "ends": 1, "backs": 1}


def test_copies_that_are_not_waited_for_are_there_at_the_end_alone():
    with shim.installed():
        with on(DEVICE):
            found = fetched(to_device(np.full((2, 3), 3, np.uint16), DEVICE))
            assert not (found == 3).any()
        assert found.tolist() == [[3] * 3] * 2


def test_the_part_is_that_of_the_innermost_function_that_has_one():
    def part_of(module, function):
        return {"inner": "a", "outer": "b"}.get(function)

    def inner(array):
        return to_host(array)

    def outer(array):
        array += 1
        return inner(array)

    with shim.installed() as cupy, shim.COUNTS.counted(part_of) as counts:
        array = cupy.zeros(3)
        outer(array)
    cupy.zeros(3)
    assert counts.numbers == {("calls", ""): 1, ("calls", "b"): 1, ("downloads", "a"): 1, ("waits", "a"): 1}
