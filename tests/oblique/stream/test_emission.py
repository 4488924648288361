"""Boxes on their way to the writer: each once, with any number of threads, and an error ends all waiting."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gpustitch.array import CPU, Device
from gpustitch.model import Box
from gpustitch.oblique.stream import emission
from gpustitch.oblique.stream.emission import Emission, drain_of, n_buffers
from gpustitch.running.threads import Workers
from tests.cuda_cpu import shim

DEVICE = Device(0, "cuda:0: emulated", 1 << 30)
BLOCK = (4, 6, 8)
BOXES = [Box((4 * z, 0, 8 * x), (4 * z + 4, 12, 8 * x + 8)) for x in range(3) for z in range(4)]


class Kept:
    """A target that keeps what it is given; ``fails_at`` is the number of a box that it refuses."""

    def __init__(self, fails_at=None):
        self.found, self.fails_at = {}, fails_at
        self.lock = threading.Lock()

    def reduced(self, voxels):
        return [voxels, voxels[::2, ::2, ::2]]

    def write(self, box, voxels, release):
        self.write_levels(box, self.reduced(voxels))
        release()

    def write_levels(self, box, levels, release=None):
        with self.lock:
            if len(self.found) == self.fails_at:
                raise OSError("the disk is full")
            self.found[box.start] = [level.copy() for level in levels]
        # As a writer that is behind: its views hold a buffer for a while.
        held = [levels]
        threading.Timer(3e-3, held.clear).start()


def voxels_of(box):
    z, y, x = np.mgrid[box.slices()]
    return (1 + z * 577 + y * 24 + x).astype(np.uint16)


def upright(boxes, out):
    moved = np.stack([voxels_of(box) for box in boxes])
    out[...] = moved if isinstance(out, np.ndarray) else shim.asarray(moved)


def emitted(target, device, n_workers, boxes=BOXES, at_a_time=5):
    workers = Workers(n_workers, device)
    with ThreadPoolExecutor(n_workers) as pool:
        drain = drain_of(workers)
        with Emission(upright, target, np.dtype(np.uint16), BLOCK, workers, pool, drain) as way:
            for first in range(0, len(boxes), at_a_time):
                way.free_ring()
                way.begin(boxes[first : first + at_a_time])
            return way.finish()


@pytest.mark.parametrize("device", [CPU, DEVICE])
@pytest.mark.parametrize("n_workers", [1, 2, 6])
@pytest.mark.parametrize("together", [1, 3])
def test_each_box_comes_once_with_all_levels(device, n_workers, together, monkeypatch):
    monkeypatch.setattr(emission, "TOGETHER_BYTES", 2 * together * BOXES[0].size)
    target = Kept()
    with shim.installed():
        # Each is two blocks of rows.
        assert emitted(target, device, n_workers) == 2 * len(BOXES)
    assert set(target.found) == {box.start for box in BOXES}
    for box in BOXES:
        for ours, theirs in zip(target.found[box.start], target.reduced(voxels_of(box)), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("device", [CPU, DEVICE])
@pytest.mark.parametrize("n_workers", [1, 4])
@pytest.mark.parametrize("fails_at", [0, 3, 11])
def test_an_error_of_the_writer_ends_all_and_is_told(device, n_workers, fails_at, monkeypatch):
    monkeypatch.setattr(emission, "TOGETHER_BYTES", 2 * 2 * BOXES[0].size)
    target, told = Kept(fails_at), []

    def run():
        try:
            emitted(target, device, n_workers)
        except OSError as error:
            told.append(str(error))

    with shim.installed():
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(30)
        assert not thread.is_alive(), "something waits for ever"
    assert told == ["the disk is full"]


def test_an_error_of_the_caller_ends_those_that_wait_for_buffers():
    target, held = Kept(), []
    workers = Workers(1, DEVICE)
    with shim.installed(), ThreadPoolExecutor(1) as pool:
        drain = drain_of(workers)
        for _ in range(n_buffers(1)):  # no buffer is left
            with drain.place() as place:
                place.send([shim.asarray(np.zeros(4, np.uint16))])
                held.append(place.received())
        with (
            pytest.raises(ValueError, match="own"),
            Emission(upright, target, np.dtype(np.uint16), BLOCK, workers, pool, drain) as way,
        ):
            way.begin(BOXES)
            raise ValueError("of its own")
        held.clear()
    assert not target.found


def test_few_threads_have_few_buffers():
    assert [n_buffers(n) for n in (1, 2, 3, 4, 64)] == [2, 3, 4, 4, 4]
    assert drain_of(Workers(3, CPU)) is None
