"""The flat of DCIMG files: the reference's figures, orientation, choice of frames, memory, refusals."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from gpustitch.errors import DamagedInputError, InputMissingError, MosaicError, OutputExistsError, ParameterError
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.oblique.flat import percentiles
from gpustitch.oblique.flat import stage as illumination
from gpustitch.oblique.flat.options import IlluminationOptions
from gpustitch.oblique.flat.stage import percentile_bins, plan, run
from gpustitch.running.progress import Silent
from tests.oblique.deskew.test_sweep import Holed
from tests.paths import DATA


def write(path, frames):
    write_dcimg(path, frames, len(frames), frames.shape[1:])
    return path


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(DATA / "illum_40x48.npz"))


@pytest.fixture(scope="module")
def golden_file(golden, tmp_path_factory):
    return write(tmp_path_factory.mktemp("illum") / "a.dcimg", golden["frames"])


@pytest.fixture
def options(golden_file, tmp_path):
    return IlluminationOptions((golden_file,), tmp_path / "flat.tiff", n_bins=64, values_per_bin=16, n_workers=2)


def test_the_flat_is_that_of_the_reference(options, golden, tmp_path):
    result = run(plan(replace(options, intermediate_output=tmp_path / "percentile.tiff")))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "percentile.tiff"), golden["qbin"] * 16)
    written = tifffile.imread(tmp_path / "flat.tiff")
    assert written.dtype == np.float32
    np.testing.assert_array_equal(written, result.fit.counts)
    images = np.stack([golden[f"image_seed{k}"] for k in range(3)])
    spread = max(np.abs(a - b).max() for a in images for b in images)
    assert np.abs(images - written).max() <= spread
    assert result.n_frames == 160
    assert result.flat.max() == 1
    assert "160 frames" in result.summary


@pytest.mark.parametrize("n_workers", [1, 3])
@pytest.mark.parametrize("memory_bytes", [1 << 20, 20_000])
def test_bands_and_workers_change_nothing(options, golden, n_workers, memory_bytes):
    work = plan(replace(options, n_workers=n_workers, memory_bytes=memory_bytes))
    found = percentile_bins(work, work.options.fit_options())
    np.testing.assert_array_equal(found.whole.bins, golden["qbin"])
    np.testing.assert_array_equal(found.whole.count, golden["counts"].sum(axis=2))


@pytest.mark.parametrize(("rotate_90", "flip_ud"), [(0, False), (1, False), (3, True)])
def test_of_large_frames_some_rows_and_columns_give_nearly_the_same_flat(
    rotate_90, flip_ud, options, monkeypatch, tmp_path
):
    light = np.linspace(1, 0.7, 210) + np.linspace(-0.1, 0, 160)[:, None]  # of the model, however it is turned
    frames = np.random.default_rng(4).poisson(light * 600, (60, 160, 210)).astype(np.uint16)
    frames[:, 50:60, 100:120] //= 2
    options = replace(options, paths=(write(tmp_path / "f.dcimg", frames),), n_bins=512, values_per_bin=2)
    options = replace(options, rotate_90=rotate_90, flip_ud=flip_ud)
    all_pixels = run(plan(options))
    monkeypatch.setattr(percentiles, "_JUDGED_PIXELS", 2000)
    monkeypatch.setattr(percentiles, "_FITTED_PIXELS", 3500)
    work = plan(replace(options, overwrite=True))
    assert (work.chosen.grid, work.chosen.step) == (2, 4)
    asked = plan(replace(options, overwrite=True, intermediate_output=tmp_path / "percentile.tiff")).chosen
    assert asked.grid == 1 and work.chosen.peak_bytes < asked.peak_bytes
    some = run(work)
    assert np.abs(some.flat / all_pixels.flat - 1).max() < 5e-3
    assert some.residual_percent.shape == some.percentile_image.shape == all_pixels.percentile_image.shape
    is_exact = some.percentile_image == all_pixels.percentile_image
    assert 0.25 <= is_exact.mean() < 0.6
    apart = some.residual_percent - all_pixels.residual_percent
    assert np.abs(apart[is_exact]).max() < 1 < np.abs(all_pixels.residual_percent).max()


@pytest.mark.parametrize("rotate_90", [-1, 0, 1, 2, 3])
@pytest.mark.parametrize("flip_ud", [False, True])
def test_turned_frames_give_the_flat_of_turned_files(rotate_90, flip_ud, options, golden, tmp_path):
    # The reference turns the image but not its mask; ours turns both, also of frames that are not square.
    turned = np.rot90(golden["frames"], rotate_90, axes=(1, 2))
    turned = np.ascontiguousarray(turned[:, ::-1] if flip_ud else turned)
    expected = run(plan(replace(options, paths=(write(tmp_path / "t.dcimg", turned),), output=tmp_path / "e.tiff")))
    result = run(plan(replace(options, rotate_90=rotate_90, flip_ud=flip_ud)))
    np.testing.assert_array_equal(result.percentile_image, expected.percentile_image)
    np.testing.assert_array_equal(result.fit.counts, expected.fit.counts)


def test_frames_are_chosen_over_all_files_as_the_reference_does(options, golden, tmp_path):
    files = (write(tmp_path / "1.dcimg", golden["frames"][:50]), write(tmp_path / "2.dcimg", golden["frames"][50:]))
    taken = np.sort(np.random.RandomState(1234).choice(160, 40, replace=False))
    one = write(tmp_path / "3.dcimg", golden["frames"][taken])
    some = run(plan(replace(options, paths=files, n_frames=40)))
    expected = run(plan(replace(options, paths=(one,), output=tmp_path / "e.tiff")))
    np.testing.assert_array_equal(some.percentile_image, expected.percentile_image)
    assert some.n_frames == 40


@pytest.mark.parametrize(("background", "lost"), [(150, {3}), (0, {0, 7, 8, 159})])
def test_absent_and_unreadable_frames_are_not_in_the_flat(options, golden, monkeypatch, tmp_path, lost, background):
    options = replace(options, background=background)
    there = np.delete(golden["frames"], sorted(lost), axis=0)
    expected = run(plan(replace(options, paths=(write(tmp_path / "e.dcimg", there),), output=tmp_path / "e.tiff")))
    for name, broken in (("absent", set()), ("broken", lost)):
        holed = Holed(golden["frames"], lost - broken, broken)
        monkeypatch.setattr(illumination, "open_frames", lambda path, holed=holed, **_: holed)
        if broken:
            with pytest.raises(DamagedInputError, match="is broken"):
                run(plan(replace(options, output=tmp_path / "stopped.tiff")))
        result = run(plan(replace(options, on_error="skip", output=tmp_path / f"{name}.tiff")))
        np.testing.assert_array_equal(result.flat, expected.flat)
        assert result.n_frames == 160 - len(lost)
        assert set(result.lost[0].unreadable) == broken and set(result.lost[0].missing) == lost - broken


@pytest.mark.parametrize("n_frames", [0, -1])
def test_a_wrong_number_of_frames_is_refused(n_frames, options):
    with pytest.raises(ParameterError, match="at least 1"):
        plan(replace(options, n_frames=n_frames))


@pytest.mark.parametrize("is_auto", [False, True])
def test_memory_stays_within_what_is_planned(tmp_path, is_auto):
    rng = np.random.default_rng(0)
    frames = rng.poisson(300, (60, 256, 256)).astype(np.uint16)
    options = IlluminationOptions(
        (write(tmp_path / "a.dcimg", frames),),
        tmp_path / "flat.tiff",
        n_workers=2,
        memory_bytes=2 << 20,
        auto=is_auto,
        allow_poor_flat=True,
    )
    work = plan(options)
    tracemalloc.start()
    try:
        run(work)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Blocks of each worker (values, mask, limits) come on top and do not grow with the frames.
    assert peak < work.peak_bytes + 2 * (3 << 20)
    assert peak < 256 * 256 * 1024 * 4 / 10, "histograms of all pixels would take ten times as much"


@pytest.mark.parametrize("n_frames", [100, 5000, 100_000])
@pytest.mark.parametrize("n_workers", [1, 2, 64])
def test_a_big_camera_is_planned_within_two_gibibytes(n_frames, n_workers, monkeypatch, tmp_path):
    class Big:
        absent = frozenset()
        shape = (n_frames, 2048, 2048)
        dtype = np.dtype("<u2")

    monkeypatch.setattr(illumination, "open_frames", lambda path, **_: Big())
    work = plan(IlluminationOptions(("big",), tmp_path / "flat.tiff", n_workers=n_workers))
    assert work.peak_bytes <= 2 << 30
    assert 1 <= work.chosen.band_rows <= 2048
    assert 1 <= work.chosen.n_workers <= n_workers


def test_more_frames_than_a_row_of_fits_in_memory_is_refused(options):
    with pytest.raises(ParameterError, match="`n_frames`"):
        plan(replace(options, memory_bytes=1000))


def test_thin_bands_are_told(options, monkeypatch):
    notes = []

    class Watcher:
        def start(self, label, total, unit):
            pass

        advance = finish = lambda self, count=1: None

        def note(self, message):
            notes.append(message)

        def warn(self, message):
            pass

    run(plan(replace(options, memory_bytes=40_000)), Watcher())
    assert "small reads" in notes[0]


def test_the_dark_offset_makes_the_flat_proportional_to_light(options):
    with_dark = run(plan(replace(options, dark=100.0)))
    without = run(plan(replace(options, overwrite=True)))
    assert with_dark.flat.min() < without.flat.min() - 0.02


def test_dark_frames_are_refused_with_the_remedy_and_leave_nothing(options, tmp_path):
    dark = write(tmp_path / "dark.dcimg", np.full((5, 30, 30), 100, np.uint16))
    with pytest.raises(ParameterError, match="lower `background`"):
        run(plan(replace(options, paths=(dark,))))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dark.dcimg"]


def test_saturated_frames_are_refused_with_the_remedy(options, tmp_path):
    bright = write(tmp_path / "bright.dcimg", np.full((5, 30, 30), 1020, np.uint16))
    with pytest.raises(ParameterError, match="raise `values_per_bin`"):
        run(plan(replace(options, paths=(bright,))))


def test_frames_of_another_size_are_refused(options, tmp_path):
    other = write(tmp_path / "other.dcimg", np.zeros((2, 48, 40), np.uint16))
    with pytest.raises(MosaicError, match=r"other\.dcimg has frames of 48 x 40"):
        plan(replace(options, paths=(*options.paths, other)))


def test_outputs_are_checked_first(options, tmp_path):
    (tmp_path / "flat.tiff").write_text("mine")
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        plan(replace(options, paths=("missing.dcimg",)))
    with pytest.raises(ParameterError, match="both"):
        plan(replace(options, overwrite=True, intermediate_output=options.output))
    with pytest.raises(ParameterError, match=r"`output` .*flat\.png will be a TIFF"):
        plan(replace(options, output=options.output.with_name("flat.png")))
    with pytest.raises(InputMissingError, match=r"missing\.dcimg"):
        plan(replace(options, paths=("missing.dcimg",), overwrite=True))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"percentile": 100.5}, "`percentile`"),
        ({"percentile": float("nan")}, "`percentile`"),
        ({"n_bins": 0}, "`n_bins`"),
        ({"background": 1024}, "lower `background`"),
        ({"min_samples": 1}, "`min_samples`"),
        ({"n_workers": 0}, "workers"),
        ({"paths": ()}, "at least one"),
    ],
)
def test_impossible_options_are_refused(change, says, options):
    with pytest.raises(ParameterError, match=says):
        plan(replace(options, **change))


@pytest.mark.parametrize(("top", "warned"), [(3000, 0), (6000, 1)])
def test_tissue_too_bright_for_the_bins_is_told(tmp_path, top, warned):
    frames = np.random.default_rng(0).integers(200, top, (40, 16, 24)).astype(np.uint16)
    warnings = []

    class Recorder(Silent):
        def warn(self, message):
            warnings.append(message)

    options = IlluminationOptions((write(tmp_path / "a.dcimg", frames),), tmp_path / "flat.tiff")

    def of_bins():
        return [warning for warning in warnings if "bins of 4 end at 4096" in warning]

    run(plan(options), Recorder())
    assert len(of_bins()) == warned
    assert all("`values_per_bin`" in warning for warning in of_bins())
    run(plan(replace(options, output=tmp_path / "wide.tiff", values_per_bin=8)), Recorder())
    assert len(of_bins()) == warned
