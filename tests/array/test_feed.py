"""Feeding a device: every part arrives as it was filled, and each wait that is left out shows on the stand-in."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from gpustitch.array import Device, on, to_host
from gpustitch.array.feed import N_BUFFERS, Feed
from tests.cuda_cpu import shim, shim_cuda
from tests.cuda_cpu.shim_books import StreamFault

DEVICE = Device(0, "cuda:0: emulated", 1 << 30)
PARTS = ((0, 3), (3, 4), (4, 6))


def filled(number, shape, dtype):
    return (np.arange(np.prod(shape)).reshape(shape) % 50 + number).astype(dtype)


def fed(n, dtype="uint16", *, ahead=1):
    """Sums of all parts of ``n`` buffers, of which ``ahead`` are filled before one is sent."""
    found, begun = [], []
    with on(DEVICE):
        feed = Feed(6 * 20 * 8, 3 * 20 * 8, DEVICE)
        for number in range(n + ahead):
            if number < n:
                taken = feed.take((6, 4, 5), dtype)
                taken.host[...] = filled(number, (6, 4, 5), dtype)
                begun.append(taken)
            if number >= ahead:
                taken = begun[number - ahead]
                for start, stop in PARTS:
                    with taken.sent(slice(start, stop)) as array:
                        assert array.shape == (stop - start, 4, 5) and array.dtype == dtype
                        found.append(array.sum(axis=(1, 2)))
    return np.concatenate([to_host(part) for part in found])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(("n", "ahead"), [(1, 0), (7, 0), (7, 1), (5, N_BUFFERS - 1)])
def test_every_part_arrives_as_it_was_filled(n, ahead, dtype):
    with shim.installed():
        found = fed(n, dtype, ahead=ahead)
    expected = [filled(number, (6, 4, 5), dtype).sum(axis=(1, 2)) for number in range(n)]
    np.testing.assert_array_equal(found, np.concatenate(expected))


def test_buffers_of_several_shapes_and_types_take_turns():
    with shim.installed(), on(DEVICE):
        feed = Feed(960, 480, DEVICE)
        for number, (shape, dtype) in enumerate(
            [((6, 4, 5), "uint16"), ((2, 7, 3), "float32"), ((9, 8, 1), "uint8")] * 3
        ):
            taken = feed.take(shape, dtype)
            taken.host[...] = filled(number, shape, dtype)
            with taken.sent(slice(1, 2)) as array:
                np.testing.assert_array_equal(to_host(array + 0), taken.host[1:2])


def test_a_buffer_may_be_filled_by_other_threads():
    with shim.installed(), on(DEVICE):
        feed = Feed(960, 960, DEVICE)
        for number in range(5):
            taken = feed.take((6, 4, 5), "uint16")
            threads = [threading.Thread(target=taken.host[k].fill, args=(10 * number + k,)) for k in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            with taken.sent(slice(0, 6)) as array:
                assert to_host(array[:, 0, 0]).tolist() == [10 * number + k for k in range(6)]


def test_a_buffer_that_is_filled_while_it_is_copied_is_a_fault(monkeypatch):
    monkeypatch.setattr(shim_cuda.Event, "synchronize", lambda self: None)
    with pytest.raises(StreamFault, match="memory of the host changes before the copy"), shim.installed():
        fed(N_BUFFERS + 1, ahead=0)


def no_wait(streams):
    """Streams' waiting for events, left out for some of ``streams``."""
    wait = shim_cuda.Stream.wait_event

    def wait_event(self, event):
        if not streams(self):
            wait(self, event)

    return wait_event


@pytest.mark.parametrize("who", ["the copy", "the work"])
def test_an_event_that_is_not_waited_for_is_a_fault(who, monkeypatch):
    def streams(stream):
        return (stream is not shim_cuda.current_stream()) == (who == "the copy")

    monkeypatch.setattr(shim_cuda.Stream, "wait_event", no_wait(streams))
    said = {"the copy": "without waiting for the stream that reads it", "the work": "for the stream that wrote it"}
    with pytest.raises(StreamFault, match=said[who]), shim.installed():
        fed(3)
