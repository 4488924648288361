"""How bright tiles are, what is saturated, and what shows nothing."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.oblique.report.light import blinded, copies, lights


class Stack:
    """Frames in memory, which counts how many were read."""

    def __init__(self, frames: np.ndarray, absent: frozenset[int] = frozenset()) -> None:
        self._frames, self.shape, self.dtype, self.absent = frames, frames.shape, frames.dtype, absent
        self.n_read = 0

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        self.n_read += stop - start
        return self._frames[start:stop, rows, columns]


def noise(seed: int, shape: tuple[int, int, int] = (20, 40, 96)) -> np.ndarray:
    return np.random.default_rng(seed).normal(800, 100, shape).astype(np.uint16)


@pytest.mark.parametrize(("seed", "percent"), [(1, 2.0), (2, 20.0)])
def test_saturated_pixels_are_counted(seed: int, percent: float) -> None:
    frames = noise(seed)
    most = int(np.percentile(frames, 100 - percent))
    found = lights({"a": Stack(np.minimum(frames, most)), "b": Stack(frames)}, 1 << 30)
    assert found["a"] is not None and found["b"] is not None
    assert found["a"].full_scale == most and found["a"].saturated_percent == pytest.approx(percent, rel=0.2)
    assert found["b"].full_scale is None and found["b"].saturated_percent == 0


def test_depth_is_along_the_columns() -> None:
    ramp = np.linspace(100, 900, 96)
    found = lights({"a": Stack(np.broadcast_to(ramp, (6, 40, 96)).astype(np.float32))}, 1 << 30)["a"]
    assert found is not None and len(found.depth) == 48
    np.testing.assert_allclose(found.depth, ramp.reshape(48, 2).mean(axis=1), rtol=1e-5)


def test_constant_and_unreadable_tiles_are_told() -> None:
    constant, gone = Stack(np.full((5, 8, 9), 100, np.uint16)), Stack(noise(3, (4, 8, 9)), frozenset(range(4)))
    found = lights({"constant": constant, "gone": gone, "lit": Stack(noise(4))}, 1 << 30)
    assert found["constant"] is not None and found["constant"].is_constant and found["gone"] is None
    assert found["lit"] is not None and not found["lit"].is_constant


@pytest.mark.parametrize("n", [0, 2, 5, 19])
def test_frames_that_come_again_are_counted(n: int) -> None:
    """The last ``n`` frames are that before them: of twelve that are looked at, as many in the mean."""
    frames = noise(5)
    frames[20 - n :] = frames[20 - n - 1]
    dark = np.zeros_like(frames)
    dark[:, 3, 3] = 255  # a hot pixel in the dark is there in all frames
    found = lights({"a": Stack(frames), "b": Stack(dark)}, 1 << 30)
    assert found["a"] is not None and found["b"] is not None and found["b"].n_repeated == 0
    assert abs(found["a"].n_repeated - 12 * n / 20) < 2 and (n > 0 or found["a"].n_repeated == 0)


@pytest.mark.parametrize("lines", [(), (5,), (5, 6, 20), tuple(range(8, 16))])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("count", [0, 65535])
def test_dead_lines_lie_between_others(lines: tuple[int, ...], axis: int, count: int) -> None:
    frames = noise(9)
    np.moveaxis(frames, axis, 0)[list(lines)] = count
    found = lights({"a": Stack(frames)}, 1 << 30)["a"]
    assert found is not None and (found.dead_rows, found.dead_columns) == ((lines, ()) if axis == 1 else ((), lines))
    np.moveaxis(frames, axis, 0)[:3] = 0  # at the rim nothing may be seen
    again = lights({"a": Stack(frames)}, 1 << 30)["a"]
    assert again is not None and again.dead_rows + again.dead_columns == lines


def test_few_lit_lines_make_no_dead_ones() -> None:
    frames = np.zeros((20, 40, 96), np.uint16)
    frames[:, [3, 30]] = noise(10)[:, [3, 30]]
    found = lights({"a": Stack(frames)}, 1 << 30)["a"]
    assert found is not None and found.dead_rows == found.dead_columns == ()


def test_tiles_that_are_saturated_all_over_and_copies() -> None:
    full, much = np.full((5, 8, 9), 4095, np.uint16), np.minimum(4 * noise(6), 2800)
    tiles = {"full": full, "much": much, "a": noise(7), "b": noise(8), "c": noise(7), "dark": np.full_like(full, 100)}
    found = lights({name: Stack(frames) for name, frames in tiles.items()}, 1 << 30) | {"gone": None}
    assert blinded(found) == {"full", "much"}
    assert copies(found) == [("a", "c")]
    tiles["full"] = np.full_like(full, 255)  # others show more, so that this is a camera's level in the dark
    assert blinded(lights({name: Stack(frames) for name, frames in tiles.items()}, 1 << 30)) == {"much"}


def test_few_frames_are_read_of_large_tiles() -> None:
    many = {str(n): Stack(noise(n)) for n in range(4)}
    lights(many, 0)
    assert {stack.n_read for stack in many.values()} == {3}
    lights(many, 1 << 40)
    assert {stack.n_read for stack in many.values()} == {3 + 12}
