"""Values of tags that break the standard in ways that leave no doubt, and in ways that do."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from gpustitch.demo.series.dicom import write_series
from gpustitch.slices.verdict.stage import judge
from tests.slices.slice_headers import codes, text


def judged(folder, along, tags, **options):
    """A series whose tags are overwritten with texts as they are; ``tags`` gives those of slice k."""

    def edit(data, k):
        for name, value in tags(k).items():
            raw = value.encode() + b" " * (len(value) % 2)
            tag = pydicom.tag.Tag(name)
            data[tag] = pydicom.dataelem.RawDataElement(tag, "DS", len(raw), raw, 0, False, True)

    write_series(folder, along, edit=edit, **options)
    (stack,) = judge([folder])
    return stack


@pytest.mark.parametrize("seed", range(6))
def test_decimal_commas_are_read_and_told(tmp_path, seed):
    rng = np.random.default_rng(seed)
    spacing, decimals = rng.uniform(0.5, 6), int(rng.integers(2, 5))
    first = rng.uniform(-100, 100)
    pixel = round(float(rng.uniform(0.2, 1)), 3)

    def tags(k):
        place = "\\".join(f"{v:.{decimals}f}" for v in (-10, 12.5, first + spacing * k))
        return {"ImagePositionPatient": place.replace(".", ","), "PixelSpacing": f"{pixel}\\{pixel}".replace(".", ",")}

    stack = judged(tmp_path, spacing * np.arange(20), tags)
    assert stack.fit.spacing_class == "UNIFORM" and len(stack.order) == 20
    assert abs(stack.spacing_mm[0] - spacing) <= stack.uncertainty_mm[0]
    assert stack.spacing_mm[1:] == (pixel, pixel)
    assert "decimal commas" in text(stack, "TAG_BAD") and not stack.series.headers[0].quantum_mm[0] > 10.0**-decimals


@pytest.mark.parametrize("value", ["1,234,5", "1.234,5", "1,234.5", "1,", ",", "-,5e"])
def test_commas_that_may_mean_something_else_are_no_numbers(tmp_path, value):
    stack = judged(tmp_path, 2.0 * np.arange(8), lambda k: {"SliceThickness": value})
    assert all(header.thickness_mm is None for header in stack.series.headers)
    assert "SliceThickness" in text(stack, "TAG_BAD")


@pytest.mark.parametrize("seed", range(5))
def test_one_pixel_spacing_is_that_of_rows_and_columns(tmp_path, seed):
    pixel = round(float(np.random.default_rng(seed).uniform(0.1, 2)), seed + 1)
    stack = judged(tmp_path, 2.0 * np.arange(8), lambda k: {"PixelSpacing": str(pixel)})
    assert stack.spacing_mm[1:] == (pixel, pixel)
    assert codes(stack) == {"TAG_BAD"} and "taken for rows and columns" in text(stack, "TAG_BAD")


@pytest.mark.parametrize("value", ["1,1", "0,5", "0", "-1", "0.5\\0.5\\0.5"])
def test_a_pixel_spacing_in_doubt_is_none(tmp_path, value):
    stack = judged(tmp_path, 2.0 * np.arange(8), lambda k: {"PixelSpacing": value})
    assert stack.spacing_mm[1:] == (None, None) and "NO_PIXEL_SPACING" in codes(stack)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_mosaics_are_no_slices(tmp_path, n):
    def edit(data, k):
        data.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]

    write_series(tmp_path, np.zeros(n), edit=edit, spacing_between=3.3)
    (stack,) = judge([tmp_path])
    assert not stack.is_usable and stack.spacing_mm[0] is None
    assert "side by side" in text(stack, "MOSAIC") and "mosaics apart" in stack.advice
