"""Pixels of unusual kinds and files that are cut: the verdict says what a volume would fail on, and else it is made."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import tifffile

from gpustitch.slices.dicom.series import find_dicom_series
from gpustitch.slices.verdict.pixels import without_damaged
from gpustitch.slices.verdict.stage import judge
from tests.e2e.commands import fail, run, succeed
from tests.slices.odd_pixels import (
    COLOR,
    CUT_SYNTAXES,
    GREY,
    REFUSED,
    TIFF_REFUSED,
    TIFF_TYPES,
    Drawn,
    write_color,
    write_cut,
    write_grey,
    write_refused,
    write_tiff,
)
from tests.slices.slice_headers import codes, text

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
IMAGES = ("--spacing-z", 2.5, "--pixel-spacing", "1,1")


def verdict(*arguments):
    """Exit code of ``spacing`` and its JSON."""
    result = run("spacing", *arguments, "--json", "--quiet")
    return result.exit_code, json.loads(result.stdout)


def colors_of(path):
    """Red, green and blue (slice, row, column, 3) of a NIfTI file."""
    stored = np.asarray(nibabel.load(path).dataobj).T
    return np.stack([stored[name] for name in "RGB"], -1)


@pytest.mark.parametrize(("seed", "kind"), list(enumerate(GREY)))
def test_whole_and_real_numbers_of_all_sizes_are_read(tmp_path, seed, kind):
    values = write_grey(tmp_path / "in", kind, Drawn(seed))
    assert verdict(tmp_path / "in")[0] == 0
    succeed("resample", tmp_path / "in", tmp_path / "v.nii")
    made = np.asarray(nibabel.load(tmp_path / "v.nii").dataobj).T
    assert made.dtype == GREY[kind]
    np.testing.assert_array_equal(made, values.astype(GREY[kind]))


@pytest.mark.parametrize(("seed", "kind"), list(enumerate(COLOR)))
def test_colors_go_into_the_formats_that_hold_them(tmp_path, seed, kind):
    values = write_color(tmp_path / "in", kind, Drawn(seed))
    code, (found,) = verdict(tmp_path / "in")
    assert (code, found["warnings"], found["usable"]) == (21, ["COLOR_PIXELS"], True)
    target = tmp_path / ("v.nii", "v.nii.gz")[seed % 2]
    succeed("resample", tmp_path / "in", target)
    np.testing.assert_array_equal(colors_of(target), values)
    target = tmp_path / ("v.tif", "v.ome.tif")[seed % 2]
    succeed("resample", tmp_path / "in", target, "--compression", seed // 2)
    np.testing.assert_array_equal(tifffile.imread(target), values)
    target = tmp_path / ("v.zarr", "v")[seed % 2]
    assert "NIfTI" in fail(3, "resample", tmp_path / "in", target)
    assert not target.exists()


@pytest.mark.parametrize("seed", range(5))
def test_colors_are_interpolated_one_by_one(tmp_path, seed):
    drawn = Drawn(100 + seed)
    values = write_color(tmp_path / "in", "RGB", drawn).astype(float)
    succeed("resample", tmp_path / "in", tmp_path / "v.nii", "--spacing", drawn.spacing_mm / 2)
    made = colors_of(tmp_path / "v.nii")
    assert np.abs(made[1::2][: drawn.n - 1] - (values[1:] + values[:-1]) / 2).max() <= 0.51
    fail(3, "resample", tmp_path / "in", tmp_path / "w.nii", "--unshear")


@pytest.mark.parametrize(("seed", "kind"), list(enumerate(REFUSED)))
def test_what_a_volume_would_fail_on_is_said_with_the_verdict(tmp_path, seed, kind):
    drawn = Drawn(seed)
    write_refused(tmp_path / "in", kind, drawn)
    code, (found,) = verdict(tmp_path / "in")
    assert (code, found["usable"], found["warnings"][0]) == (22, False, "PIXELS_REFUSED")
    assert found["spacing_mm"][0] == pytest.approx(drawn.spacing_mm) and "Use" not in found["advice"]
    assert "Convert" in found["advice"]
    fail(5, "resample", tmp_path / "in", tmp_path / "v.nii")
    assert not (tmp_path / "v.nii").exists()


@pytest.mark.parametrize(("seed", "syntax"), list(enumerate(CUT_SYNTAXES)))
def test_a_cut_file_is_named_and_may_count_as_missing(tmp_path, seed, syntax):
    drawn = Drawn(seed)
    name = write_cut(tmp_path / "in", syntax, drawn)
    code, (found,) = verdict(tmp_path / "in")
    assert (code, found["warnings"][0]) == (22, "PIXELS_REFUSED") and name in found["messages"][0]["text"]
    assert "--on-error" in found["advice"]
    fail(5, "resample", tmp_path / "in", tmp_path / "v.nii")
    code, (found,) = verdict(tmp_path / "in", "--on-error", "skip")
    assert (code, found["class"]) == (21, "MISSING") and "DAMAGED_LEFT_OUT" in found["warnings"]
    assert (found["n_slices"], found["n_output"]) == (drawn.n - 1, drawn.n)
    said = succeed("resample", tmp_path / "in", tmp_path / "v.nii", "--on-error", "skip")
    assert f"1 of {drawn.n} planes are background" in said
    made = np.asarray(nibabel.load(tmp_path / "v.nii").dataobj).T
    empty = [k for k in range(drawn.n) if not made[k].any()]
    assert [f"IM{k + 1:04d}.dcm" for k in empty] == [name]


def test_a_whole_copy_of_a_cut_slice_is_taken(tmp_path):
    drawn = Drawn(3)
    name = write_cut(tmp_path / "in", None, drawn)
    drawn.write(tmp_path / "again", dtype="uint8", pixels=lambda x, y, z: (x * 31 + y * 17 + z) % 200)
    (tmp_path / "again" / name).rename(tmp_path / "in" / "copy.dcm")
    (stack,) = judge([tmp_path / "in"])
    assert stack.is_usable and len(stack.order) == drawn.n and "PIXELS_REFUSED" not in codes(stack)


def test_of_a_series_that_is_cut_everywhere_nothing_is_left_out(tmp_path):
    drawn = Drawn(4)
    for path in drawn.write(tmp_path):
        path.write_bytes(path.read_bytes()[:-4])
    series, _ = find_dicom_series(tmp_path.iterdir())
    assert without_damaged(series) == series
    (stack,) = judge([tmp_path])
    assert not stack.is_usable and f"{drawn.n} slices" in text(stack, "PIXELS_REFUSED")


@pytest.mark.parametrize(("seed", "kind"), list(enumerate(TIFF_TYPES)))
def test_images_of_all_types_are_read(tmp_path, seed, kind):
    values = write_tiff(tmp_path / "in", kind, Drawn(seed))
    assert verdict(tmp_path / "in", "--spacing-z", 2.5)[0] == 21
    succeed("resample", tmp_path / "in", tmp_path / "v.nii", *IMAGES)
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "v.nii").dataobj).T, values.astype(np.float64))


@pytest.mark.parametrize(("seed", "kind"), list(enumerate(TIFF_REFUSED)))
def test_images_of_which_no_volume_is_made(tmp_path, seed, kind):
    write_tiff(tmp_path / "in", kind, Drawn(seed))
    code, (found,) = verdict(tmp_path / "in", "--spacing-z", 2.5)
    assert (code, found["warnings"][0]) == (22, "PIXELS_REFUSED")
    fail(5, "resample", tmp_path / "in", tmp_path / "v.nii", *IMAGES)


@pytest.mark.parametrize("seed", range(3))
def test_coloured_images_keep_their_colours(tmp_path, seed):
    values = write_tiff(tmp_path / "in", "uint8 x 3", Drawn(seed))
    code, (found,) = verdict(tmp_path / "in", "--spacing-z", 2.5)
    assert code == 21 and "COLOR_PIXELS" in found["warnings"]
    succeed("resample", tmp_path / "in", tmp_path / "v.nii", *IMAGES)
    np.testing.assert_array_equal(colors_of(tmp_path / "v.nii"), values)


def test_whole_numbers_that_float32_does_not_hold_are_refused(tmp_path):
    tmp_path.joinpath("in").mkdir()
    for k in range(4):
        tifffile.imwrite(tmp_path / "in" / f"s{k}.tif", np.full((5, 4), (1 << 24) + k, np.uint32))
    assert "16777217" in fail(3, "resample", tmp_path / "in", tmp_path / "v.nii", *IMAGES)
    assert not (tmp_path / "v.nii").exists()
