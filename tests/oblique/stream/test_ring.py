"""Pieces of fused frames on a device: those that a box needs are read, others may be made meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.array import Device, on, to_host
from gpustitch.oblique.stream.ring import Ring
from tests.cuda_cpu import build, shim
from tests.cuda_cpu.shim_books import StreamFault

pytestmark = pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "the emulator works")
DEVICE = Device(0, "cuda:0: emulated", 1 << 30)
PIECE, SHAPE = 8, (3, 2)


@pytest.mark.parametrize("made", range(5))
def test_a_piece_may_be_made_while_others_are_read(made):
    """The boxes need frames 10 to 25 and 14 to 29: pieces 1 to 3."""

    def run():
        drift = np.array([0, -1, -4], np.int64)
        with shim.installed() as cp, on(DEVICE):
            ring = Ring(SHAPE, 0, 24, PIECE, np.dtype(np.uint16), DEVICE)
            for first in range(0, 40, PIECE):
                room = ring.room(first, first + PIECE)
                room[...] = cp.asarray(np.arange(first, first + PIECE, dtype=np.uint16))[:, None, None]
            out, stream = cp.empty((2, *SHAPE, 12), np.uint16), cp.cuda.Stream(non_blocking=True)
            # What made the pieces is done, and what reads them is not.
            stream.wait_event(cp.cuda.get_current_stream().record())
            ring.take([(0, 10), (0, 14)], 0, drift, (0, 40), out)
            with stream:
                ring.room(made * PIECE, made * PIECE + PIECE)[...] = 7
            return to_host(out)

    if 1 <= made <= 3:
        with pytest.raises(StreamFault, match="that reads it"):
            run()
    else:
        expected = np.array([[[10], [11], [14]], [[14], [15], [18]]])[..., None] + np.arange(12)
        np.testing.assert_array_equal(run(), np.broadcast_to(expected, (2, 3, 2, 12)))
