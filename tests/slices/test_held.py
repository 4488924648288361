"""Numbers that float32 does not hold are refused, of DICOM and of images alike."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from gpustitch.demo.series.dicom import write_series
from tests.e2e.commands import fail, succeed

N, SHAPE = 3, (6, 5)


def dicom(folder, values):
    """Slices of 32 or 64 bits."""

    def edit(data, k):
        kind, bits = values.dtype.kind, values.itemsize * 8
        data.BitsAllocated = bits
        if kind == "f":
            for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
                delattr(data, name)
            setattr(data, "FloatPixelData" if bits == 32 else "DoubleFloatPixelData", values[k].tobytes())
        else:
            data.BitsStored, data.HighBit, data.PixelRepresentation = bits, bits - 1, int(kind == "i")
            data.PixelData = values[k].tobytes()

    write_series(folder, np.arange(N) * 2.0, edit=edit)


def tiff(folder, values):
    folder.mkdir()
    for k, plane in enumerate(values):
        tifffile.imwrite(folder / f"s_{k}.tif", plane, photometric="minisblack")


def resample(how, tmp_path, values, run):
    how(tmp_path / "in", values)
    given = [] if how is dicom else ["--spacing-z", 2, "--pixel-spacing", "0.5,0.75"]
    return run("resample", tmp_path / "in", tmp_path / "v.tif", *given)


@pytest.mark.parametrize("how", [dicom, tiff])
@pytest.mark.parametrize("dtype", ["uint32", "int32"])
@pytest.mark.parametrize("seed", range(2))
def test_whole_numbers_stay_or_are_refused(tmp_path, how, dtype, seed):
    rng = np.random.default_rng(seed)
    sign = -1 if dtype == "int32" and seed else 1
    values = sign * rng.integers(0, 1 << 24, (N, *SHAPE)).astype(dtype)
    (tmp_path / "held").mkdir()
    resample(how, tmp_path / "held", values, succeed)
    assert (tifffile.imread(tmp_path / "held" / "v.tif") == values).all()
    (tmp_path / "lost").mkdir()
    values[rng.integers(N), rng.integers(6), rng.integers(5)] = sign * ((1 << int(rng.integers(25, 31))) + 1)
    assert "not all fit float32" in resample(how, tmp_path / "lost", values, lambda *a: fail(3, *a))


@pytest.mark.parametrize("how", [dicom, tiff])
@pytest.mark.parametrize("value", [1e39, -1e300])
def test_real_numbers_beyond_float32_are_refused(tmp_path, how, value):
    values = np.full((N, *SHAPE), 1.5)
    values[0, 0, :2] = np.nan, np.inf
    (tmp_path / "held").mkdir()
    assert "pixels are float64" in resample(how, tmp_path / "held", values, succeed)
    assert np.array_equal(tifffile.imread(tmp_path / "held" / "v.tif"), values.astype("f4"), equal_nan=True)
    (tmp_path / "lost").mkdir()
    values[1, 2, 3] = value
    assert "ends at 3.4e38" in resample(how, tmp_path / "lost", values, lambda *a: fail(3, *a))
