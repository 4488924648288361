"""The phantom on disk: a tree of camera files that says what the truth says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpustitch.demo.phantom.stage import SIZES, PhantomOptions, camera_light, make_phantom, plan
from gpustitch.demo.phantom.truth import PhantomSpec, Truth
from gpustitch.errors import DamagedInputError, InputMissingError, OutputExistsError, ParameterError
from gpustitch.io.frames.dcimg import DcimgFrames
from gpustitch.io.frames.opening import Oriented
from gpustitch.io.images.files import read_image
from gpustitch.oblique.mosaic.folders import find_raw_mosaic

SPEC = PhantomSpec(n_frames=40, n_rows=48, n_columns=24, overlap=0.4, stage_error_um=4.0, pixel_error=0.01)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_phantom(tmp_path_factory.mktemp("phantom") / "p", replace(SPEC, n_channels=2))


def test_the_tree_is_read_as_a_mosaic_with_the_nominal_positions(truth: Truth) -> None:
    for number in range(2):
        mosaic = find_raw_mosaic(truth.channel(number))
        assert {t.stage_um for t in mosaic.tiles} == {t.stage_um for t in truth.tiles}
        assert {t.name for t in mosaic.tiles} == {t.name for t in truth.tiles}
        assert DcimgFrames(mosaic.tiles[0].path).shape == (40, 48, 24)


def test_stage_errors_are_as_large_as_asked_and_seeded(truth: Truth) -> None:
    errors = np.array([np.subtract(t.true_um, truth.nominal_um(t)) for t in truth.tiles])
    assert 1 < np.abs(errors).max() <= 4
    again = plan(PhantomOptions(Path("nowhere"), SPEC)).truth
    assert [t.true_um for t in again.tiles] == [t.true_um for t in truth.tiles]
    other = plan(PhantomOptions(Path("nowhere"), replace(SPEC, seed=2))).truth
    assert [t.true_um for t in other.tiles] != [t.true_um for t in truth.tiles]


def test_frames_are_the_scene_seen_through_flat_and_stripes(truth: Truth) -> None:
    tile = truth.tiles[3]
    measured = DcimgFrames(truth.channel() / tile.path).read(0, 40).astype(float) - truth.spec.sensor.dark
    expected = camera_light(truth, truth.scene(), tile, 0, 40)
    sigma = np.sqrt(expected * truth.spec.sensor.counts_per_electron + truth.spec.sensor.read_noise**2)
    deviation = (measured - expected) / sigma
    assert abs(deviation.mean()) < 0.01
    assert deviation.std() == pytest.approx(1, abs=0.02)


def test_tiles_show_the_same_specimen_where_they_truly_overlap(truth: Truth) -> None:
    """A point of one tile, taken to another by the true positions, has the same scene."""
    spec, scene = replace(truth.spec, stripe_strength=0.0), truth.scene()
    first, second = truth.tiles[0], truth.tiles[1]
    there = truth.lattice(second).index_of(truth.lattice(first).point_of(np.array([[20.0, 40.0, 12.0]])))[0]
    assert 0 < there[1] < spec.n_rows
    plain = replace(truth, spec=spec)
    flat = spec.flat()
    a = camera_light(plain, scene, first, 20, 21)[0] / flat
    near = np.rint(there).astype(int)
    b = camera_light(plain, scene, second, near[0], near[0] + 1)[0] / flat
    assert a[40, 12] == pytest.approx(b[near[1], near[2]], rel=0.25)


def test_truth_is_read_back(truth: Truth) -> None:
    again = Truth.load(truth.folder)
    assert again.spec == truth.spec
    assert [t.true_um for t in again.tiles] == [t.true_um for t in truth.tiles]
    assert np.allclose(again.tiles[2].stripes.row_gain, truth.tiles[2].stripes.row_gain, atol=1e-6)
    assert np.array_equal(read_image(truth.folder / "flat.tiff"), truth.spec.flat())
    assert truth.spec.true_pixel_um == pytest.approx(1.8 / 1.01)


def test_chunglab_orientation_is_undone_by_its_preset(tmp_path: Path) -> None:
    spec = replace(SPEC, grid=(1, 1, 1), n_frames=3)
    upright, turned = make_phantom(tmp_path / "a", spec), make_phantom(tmp_path / "b", replace(spec, chunglab=True))
    expected = DcimgFrames(upright.channel() / upright.tiles[0].path).read(0, 3)
    written = DcimgFrames(turned.channel() / turned.tiles[0].path)
    assert written.shape == (3, 24, 48)
    assert np.array_equal(Oriented(written, 3, True).read(0, 3), expected)


def test_negative_y_mirrors_the_names_only(tmp_path: Path) -> None:
    plain, mirrored = (plan(PhantomOptions(tmp_path / "x", replace(SPEC, negative_y=n))).truth for n in (False, True))
    assert [t.true_um for t in mirrored.tiles] == [t.true_um for t in plain.tiles]
    y = [[t.stage_um[1] for t in truth.tiles] for truth in (plain, mirrored)]
    assert np.subtract(y[0], y[0][0]).tolist() == pytest.approx((-np.subtract(y[1], y[1][0])).tolist())


def test_a_grid_in_z_overlaps(tmp_path: Path) -> None:
    truth = plan(PhantomOptions(tmp_path / "x", replace(SPEC, grid=(2, 2, 2)))).truth
    assert len(truth.tiles) == 8
    z = sorted({t.stage_um[2] for t in truth.tiles})
    assert 0 < z[1] - z[0] < 24 * truth.spec.scan.spacing.z_um


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"grid": (0, 1, 1)}, ParameterError),
        ({"overlap": 1.0}, ParameterError),
        ({"n_channels": 3}, ParameterError),
        ({"stage_error_um": -1.0}, ParameterError),
        ({"pixel_error": -1.0}, ParameterError),
        ({"n_rows": 0}, ParameterError),
        ({"angle_deg": 90.0}, ParameterError),
    ],
)
def test_impossible_phantoms_are_refused(change: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        replace(SPEC, **change)


def test_existing_output_and_missing_truth_are_refused(truth: Truth, tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        plan(PhantomOptions(truth.folder, SPEC))
    with pytest.raises(ParameterError, match="same place"):
        plan(PhantomOptions(tmp_path / "x", replace(SPEC, overlap=0.9999)))
    with pytest.raises(InputMissingError, match="not a phantom"):
        Truth.load(tmp_path)
    (tmp_path / "truth.json").write_text('{"spec": {"grid": [1, 1, 1], "unknown": 3}}')
    with pytest.raises(DamagedInputError, match=r"truth\.json"):
        Truth.load(tmp_path)


def test_the_sizes_hold_the_windows_of_the_alignment() -> None:
    for name, spec in SIZES.items():
        lengths = zip((spec.n_frames, spec.n_rows), spec.grid, strict=False)
        shared = [spec.overlap * length for length, tiles in lengths if tiles > 1]
        assert min(shared) >= 21 + 2 * 10, name
