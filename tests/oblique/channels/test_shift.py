"""The shift between two channels: found where they show something in common, unknown where they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Mosaic, Spacing
from gpustitch.model.tile import TilePath
from gpustitch.oblique.channels.shift import central, measured_shift
from gpustitch.running.progress import SILENT
from gpustitch.running.threads import Workers

SPACING = Spacing(1.27, 1.8, 1.28)
SHAPE = (64, 80, 96)


def texture(rng):
    return gaussian_filter(rng.standard_normal(SHAPE), 2)


def counts(values, rng):
    noisy = 1000 + 8000 * values + rng.normal(0, 20, values.shape)
    return ArrayVolume(np.clip(noisy, 0, 65535).astype(np.uint16), SPACING)


def channels(seed, shifts, shared=1.0):
    """Two channels of tiles; the second lies off by its shift, and has a texture of its own too."""
    rng = np.random.default_rng(seed)
    fixed, moving = {}, {}
    for number, off in enumerate(shifts):
        seen = texture(rng)
        fixed[str(number)] = counts(seen, rng)
        moving[str(number)] = counts(shared * shift(seen, -np.array(off), order=3) + 0.8 * texture(rng), rng)
    return fixed, moving


@pytest.mark.parametrize("seed", range(3))
def test_a_shift_comes_back_within_its_error(seed):
    true = np.random.default_rng(100 + seed).uniform(-5, 5, 3)
    found = measured_shift(*channels(seed, [true, true]), Workers(1), SILENT)
    assert len(found.by_tile_px) == 2 and not found.is_uneven and found.is_shifted
    errors = np.subtract(found.offset_px, true)
    assert np.abs(errors).max() < 0.25
    assert (np.abs(errors) < 4 * np.array(found.standard_error_px)).all()


def test_channels_that_lie_alike_are_not_shifted():
    found = measured_shift(*channels(7, [(0, 0, 0), (0, 0, 0)]), Workers(1), SILENT)
    assert not found.is_shifted and not found.is_uneven
    assert np.abs(found.offset_px).max() < 0.2


def test_channels_with_nothing_in_common_have_no_shift():
    found = measured_shift(*channels(8, [(0, 0, 0)], shared=0.0), Workers(1), SILENT)
    assert found.offset_px is None and not found.is_shifted and found.reason
    assert "NOT known" in found.text("b", "a", SPACING)
    assert found.record(SPACING)["offset_um"] is None


def test_tiles_that_went_each_their_own_way_are_told():
    found = measured_shift(*channels(9, [(3, 0, 0), (-3, 0, 0)]), Workers(1), SILENT)
    assert found.is_uneven
    assert min(found.standard_error_px[0], 10) > 1, "the scatter of the tiles counts"


def test_lengths_of_the_record_are_um():
    found = measured_shift(*channels(10, [(2.0, -1.0, 3.0)]), Workers(1), SILENT)
    record = found.record(SPACING)
    np.testing.assert_allclose(record["offset_um"], np.multiply(found.offset_px, SPACING.zyx_um))
    assert record["n_tiles_compared"] == 1 and list(record["by_tile_um"]) == ["0"]


@pytest.mark.parametrize(("most", "expected"), [(1, {(200, 300)}), (3, None), (99, None)])
def test_tiles_in_the_middle_are_compared(most, expected):
    tiles = tuple(
        TilePath(Path(f"{x}_{y}"), (float(x), float(y), 0.0)) for x in range(0, 401, 100) for y in range(0, 601, 100)
    )
    found = central(Mosaic(tiles), most).tiles
    assert len(found) == min(most, len(tiles))
    at = {tile.stage_um[:2] for tile in found}
    assert expected is None or at == expected
    away = [abs(x - 200) + abs(y - 300) for x, y in at]
    assert most == 99 or max(away) <= 100
