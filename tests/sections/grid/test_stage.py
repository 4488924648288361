"""The stage on volumes: a deformation comes back, none stays none, and what is constant is said."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from gpustitch.array import Device
from gpustitch.errors import DamagedInputError, MosaicError, ParameterError
from gpustitch.io.planes.opening import open_planes
from gpustitch.running.progress import Silent
from gpustitch.sections.grid import stage as z_grid
from gpustitch.sections.grid.file import read_z_grids
from gpustitch.sections.grid.stage import ZGridOptions
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.file import ZPositions, write_z_positions
from gpustitch.sections.similarity.banded import banded_correlation
from tests.cuda_cpu import shim
from tests.regrid.deformed_sections import deformed_sections

pytestmark = pytest.mark.long

MAX_LAG = 8


class Told(Silent):
    """Keeps what was said."""

    def __init__(self):
        self.warnings, self.steps = [], {}

    def start(self, label, total, unit):
        self.label = label
        self.steps[label] = [total, 0]

    def advance(self, count=1):
        self.steps[self.label][1] += count

    def warn(self, message):
        self.warnings.append(message)


def request(folder, planes, grid=(4, 4), output=None, **changes):
    np.save(folder / "stack.npy", planes)
    own = {name: changes.pop(name) for name in ("window", "positions", "estimate") if name in changes}
    images = {"max_lag": MAX_LAG, "n_workers": 2, **changes}
    return ZGridOptions(folder / "stack.npy", output, grid=grid, **images, **own)


def estimated(folder, planes, told=None, **changes):
    return z_grid.run(z_grid.plan(request(folder, planes, **changes)), told or Told())


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def global_positions(planes, max_lag=MAX_LAG):
    return estimate_positions(banded_correlation(planes, max_lag), EstimateOptions(max_lag=max_lag)).positions


@pytest.fixture(scope="module")
def deformed():
    return deformed_sections()


@pytest.fixture(scope="module")
def flat():
    return deformed_sections(n=40, amplitude=0, seed=5)


@pytest.fixture(scope="module")
def flat_in_six(tmp_path_factory, flat):
    """The estimate of undeformed sections at 2 x 3 points, with the defaults of memory and threads."""
    return estimated(tmp_path_factory.mktemp("flat"), flat.planes, grid=(2, 3))


@pytest.fixture(scope="module")
def global_of_flat(flat):
    return global_positions(flat.planes)


def test_a_smooth_deformation_comes_back(tmp_path, deformed):
    told = Told()
    found = estimated(tmp_path, deformed.planes, told, output=tmp_path / "z.npz")
    truth = deformed.at(found.row_centers, found.column_centers)
    missed = rms(found.local.positions - truth)
    without = rms(found.positions[:, None, None] - truth)
    assert without > 0.6 and missed < 0.4 * without
    written = read_z_grids(tmp_path / "z.npz")
    np.testing.assert_array_equal(written.positions, found.local.positions)
    np.testing.assert_array_equal(written.uncertainty, found.grids.uncertainty)
    np.testing.assert_array_equal(written.row_centers, [15.5, 47.5, 79.5, 111.5])
    assert all(done == total for total, done in told.steps.values()) and len(told.steps) == 3
    assert not told.warnings and "96 sections at 4 x 4 points" in found.summary


def test_a_deformation_of_several_sections_comes_back_in_small_windows(tmp_path):
    """Four sections, and windows of 32 pixels: from its start alone no fine window would find its way."""
    made = deformed_sections(n=80, size=96, amplitude=4, seed=11)
    found = estimated(tmp_path, made.planes, grid=(6, 6))
    truth = made.at(found.row_centers, found.column_centers)
    missed = found.local.positions - truth
    assert rms(found.positions[:, None, None] - truth) > 1.5 and rms(missed) < 0.6
    error = found.grids.uncertainty
    assert error.shape == missed.shape and (error >= found.uncertainty[:, None, None]).all()
    assert np.mean(np.abs(missed) < 1.645 * error) > 0.7


def test_no_deformation_gives_the_global_positions(tmp_path, flat, global_of_flat):
    found = estimated(tmp_path, flat.planes)
    np.testing.assert_array_equal(found.positions, global_of_flat)
    assert rms(found.local.positions - found.positions[:, None, None]) < 0.1


def test_one_point_is_the_global_estimate(tmp_path, flat, global_of_flat):
    found = estimated(tmp_path, flat.planes, grid=(1, 1))
    np.testing.assert_array_equal(found.local.positions[:, 0, 0], global_of_flat)


def test_constant_windows_have_the_global_positions_and_are_counted(tmp_path, deformed):
    planes = deformed.planes[:48, :80, :80].copy()
    planes[:, :48, :48] = 100
    told = Told()
    found = estimated(tmp_path, planes, told, grid=(5, 5))
    empty = found.local.without_texture
    # The window of a point reaches to the next ones: the corner of 3 by 3 points is constant but for its rim.
    assert empty[:2, :2].all() and empty.sum() == 4
    np.testing.assert_array_equal(found.local.positions[:, 0, 0], found.positions)
    assert any("4 of 25 points" in text for text in told.warnings)


def test_global_positions_may_be_given(tmp_path, flat, global_of_flat):
    n = len(flat.planes)
    at = global_of_flat + 3
    nothing = np.full(n, np.nan)
    write_z_positions(tmp_path / "z.csv", ZPositions(at, np.argsort(at), nothing, nothing))
    found = estimated(tmp_path, flat.planes, grid=(2, 2), positions=tmp_path / "z.csv")
    np.testing.assert_array_equal(found.positions, at)
    assert rms(found.local.positions - at[:, None, None]) < 0.15
    with pytest.raises(MosaicError, match=f"about {n} sections"):
        z_grid.plan(request(tmp_path, flat.planes[:-1], positions=tmp_path / "z.csv"))


def test_chunks_and_workers_change_nothing(tmp_path, flat, flat_in_six):
    plain = estimated(tmp_path, flat.planes, grid=(2, 3), chunk=7, n_workers=1)
    np.testing.assert_allclose(flat_in_six.local.positions, plain.local.positions, atol=1e-6)


def test_runs_on_a_device(tmp_path, flat):
    tifffile.imwrite(tmp_path / "mask.tif", np.ones(flat.planes.shape[1:], np.uint8))
    changes = {"grid": (1, 2), "mask": tmp_path / "mask.tif"}
    expected = estimated(tmp_path, flat.planes[:24], **changes)
    with shim.installed():
        found = estimated(tmp_path, flat.planes[:24], chunk=7, device=Device(0, "cuda:0: emulated", 1 << 30), **changes)
    np.testing.assert_allclose(found.local.positions, expected.local.positions, atol=1e-3)


def test_smaller_planes_have_their_points_at_the_same_pixels_of_the_stack(tmp_path, deformed, flat_in_six):
    small = estimated(tmp_path, deformed.planes, grid=(2, 3), scale=(0.5, 0.5))
    np.testing.assert_allclose(small.row_centers, flat_in_six.row_centers)
    np.testing.assert_allclose(small.column_centers, flat_in_six.column_centers)
    # The texture is as fine as a pixel: half the size shows a quarter of it, and the deformation less well.
    truth = deformed.at(small.row_centers, small.column_centers)
    assert rms(small.local.positions - truth) < 0.9 * rms(small.positions[:, None, None] - truth)


def test_windows_without_a_used_pixel_have_the_global_positions(tmp_path, deformed):
    used = np.zeros(deformed.planes.shape[1:], np.uint8)
    used[:, :64] = 1
    tifffile.imwrite(tmp_path / "mask.tif", used)
    planes = deformed.planes[:48].copy()
    planes[:, :, 64:] = planes[::-1, :, 64:]
    found = estimated(tmp_path, planes, grid=(4, 4), mask=tmp_path / "mask.tif")
    np.testing.assert_array_equal(found.positions, global_positions(np.ascontiguousarray(planes[:, :, :64])))
    np.testing.assert_array_equal(found.local.without_texture, [[False, False, False, True]] * 4)
    np.testing.assert_array_equal(found.local.positions[:, 0, 3], found.positions)


def test_memory_is_stated_and_bounds_the_blocks(tmp_path, flat, flat_in_six):
    wide = z_grid.plan(request(tmp_path, flat.planes, grid=(2, 3), memory_bytes=1 << 30))
    tight = z_grid.plan(request(tmp_path, flat.planes, grid=(2, 3), memory_bytes=wide.peak_bytes - 1))
    assert tight.peak_bytes < wide.peak_bytes <= 1 << 30
    np.testing.assert_allclose(z_grid.run(tight).local.positions, flat_in_six.local.positions, atol=1e-3)
    with pytest.raises(ParameterError, match="`memory_bytes`"):
        z_grid.plan(request(tmp_path, flat.planes, memory_bytes=4 << 20))


def test_bad_requests(tmp_path, flat):
    for changes, message in (
        ({"grid": (200, 2)}, "does not fit"),
        ({"window": (4, 4)}, "gaps"),
        ({"estimate": EstimateOptions(compat=True)}, "compat"),
    ):
        with pytest.raises(ParameterError, match=message):
            z_grid.plan(request(tmp_path, flat.planes, **changes))
    with pytest.raises(ParameterError, match="at least 3"):
        z_grid.plan(request(tmp_path, flat.planes[:2], max_lag=1))
    with pytest.raises(DamagedInputError, match="have a similarity"):
        estimated(tmp_path, np.full_like(flat.planes, 3))


def test_planes_are_read_once(tmp_path, flat):
    asked = request(tmp_path, flat.planes, grid=(1, 2), register="off", high_pass="off")  # a look reads some twice
    planes = open_planes(asked.input)
    read = []
    original = type(planes).read

    def counted(self, start, stop):
        read.extend(range(start, stop))
        return original(self, start, stop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(planes), "read", counted)
        z_grid.run(z_grid.plan(asked))
    assert sorted(read) == list(range(len(flat.planes)))
