"""What comes back from a device: every array arrives whole, and each wait that is left out shows on the stand-in."""

from __future__ import annotations

import gc
import threading
import types
import weakref
from collections import deque

import numpy as np
import pytest

from gpustitch.array import Device, on, to_device
from gpustitch.array import drain as drain_module
from gpustitch.array.drain import N_BEING_MADE, Drain
from tests.cuda_cpu import shim, shim_cuda
from tests.cuda_cpu.shim_books import StreamFault

DEVICE = Device(0, "cuda:0: emulated", 1 << 30)
SHAPES = ((3, 4, 6), (2, 2, 3), (1, 1, 2))


def levels(number, dtype, shapes=SHAPES):
    return [(np.arange(np.prod(shape)).reshape(shape) % 50 + number).astype(dtype) for shape in shapes]


def sent(place, number, dtype="uint16", shapes=SHAPES):
    """Arrays that are computed on the device, and copied back."""
    with on(DEVICE):
        place.send([to_device(level, DEVICE) + 0 for level in levels(number, dtype, shapes)])


def returned(drain, number, dtype="uint16", shapes=SHAPES):
    with drain.place() as place:
        sent(place, number, dtype, shapes)
        return place.received()


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("n_buffers", [1, 2, 4])
def test_arrays_of_all_sizes_arrive_whole_while_others_of_them_are_still_in_use(dtype, n_buffers):
    with shim.installed():
        drain, kept = Drain(n_buffers, DEVICE), deque()
        for number in range(9):
            shapes = [tuple(n + number % 3 for n in shape) for shape in SHAPES[: 1 + number % 3]]
            while len(kept) >= n_buffers:
                kept.popleft()
            kept.append((returned(drain, number, dtype, shapes), levels(number, dtype, shapes)))
            for found, expected in kept:
                assert_same(found, expected)
            del found


def test_a_buffer_is_not_used_again_while_any_view_of_it_is_left():
    with shim.installed():
        drain, taken = Drain(1, DEVICE), []
        part = returned(drain, 3)[0][1:, 1:].transpose(1, 0, 2)[2:]
        expected = part.copy()

        def another():
            taken.append(returned(drain, 20)[1])

        thread = threading.Thread(target=another, daemon=True)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and not taken
        np.testing.assert_array_equal(part, expected)
        del part
        gc.collect()
        thread.join(10)
        assert not thread.is_alive()
        np.testing.assert_array_equal(taken[0], levels(20, "uint16")[1])


def test_who_waits_for_a_buffer_is_told_the_error_by_which_it_does_not_come():
    with shim.installed():
        drain, told = Drain(1, DEVICE), []
        held = returned(drain, 1)

        def another():
            for _ in range(2):
                with pytest.raises(OSError, match="disk is full") as error, drain.place():
                    pass
                told.append(error.value)

        thread = threading.Thread(target=another, daemon=True)
        thread.start()
        drain.stop(OSError("the disk is full"))
        thread.join(10)
        assert len(told) == 2 and held[0].size


def test_buffers_are_free_again_when_nothing_was_sent_or_taken():
    with shim.installed():
        drain = Drain(1, DEVICE)
        for number in range(4):
            with drain.place():
                pass
            with drain.place() as place:
                sent(place, number)
            with pytest.raises(ValueError, match="own"), drain.place() as place:
                sent(place, number)
                raise ValueError("of its own")
        np.testing.assert_array_equal(returned(drain, 5)[0], levels(5, "uint16")[0])


def test_few_places_are_taken_at_a_time():
    most, now, lock = [0], [0], threading.Lock()

    def take(drain):
        with drain.place() as place:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            sent(place, 1)
            place.received()
            with lock:
                now[0] -= 1

    with shim.installed():
        drain = Drain(6, DEVICE)
        threads = [threading.Thread(target=take, args=(drain,)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert 1 <= most[0] <= N_BEING_MADE


def run_with(monkeypatch, **left_out):
    """Arrays through buffers, of which there are enough, with waits left out."""
    for name, function in left_out.items():
        owner, _, method = name.partition("_")
        monkeypatch.setattr(getattr(shim_cuda, owner), method, function)
    with shim.installed():
        drain = Drain(4, DEVICE)
        for number in range(3):
            returned(drain, number)


def test_a_copy_that_does_not_wait_for_what_it_copies_is_a_fault(monkeypatch):
    with pytest.raises(StreamFault, match=r"is read .* without waiting for the stream that wrote it"):
        run_with(monkeypatch, Stream_wait_event=lambda self, event: None)


def test_an_array_that_goes_before_it_is_copied_is_a_fault(monkeypatch):
    with pytest.raises(StreamFault, match="without waiting for the stream that may still read it"):
        run_with(monkeypatch, Event_synchronize=lambda self: None)


def given_back_at_once(monkeypatch):
    """Buffers come back as soon as they are taken."""

    def at_once(_, give, room):
        give(room)
        return weakref.finalize(room, int)

    monkeypatch.setattr(drain_module, "weakref", types.SimpleNamespace(finalize=at_once))


def test_a_buffer_that_is_copied_to_before_it_is_waited_for_is_a_fault(monkeypatch):
    given_back_at_once(monkeypatch)
    said = r"copied to .* before an earlier copy to it is waited for"
    with pytest.raises(StreamFault, match=said), shim.installed():
        drain = Drain(1, DEVICE)
        with drain.place() as first:
            sent(first, 1)
            returned(drain, 2)


def test_a_buffer_that_comes_back_while_it_is_in_use_gets_other_voxels(monkeypatch):
    """What the test of views, above, would find."""
    given_back_at_once(monkeypatch)
    with shim.installed():
        drain = Drain(1, DEVICE)
        first = returned(drain, 3)[0]
        returned(drain, 20)
        np.testing.assert_array_equal(first, levels(20, "uint16")[0])
