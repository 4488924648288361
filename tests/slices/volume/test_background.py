"""What voxels hold where nothing was measured."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from gpustitch.demo.series.dicom import write_series
from tests.e2e.commands import succeed


def write_with_hole(folder, rng, padding=None, *, is_signed=True, **options):
    """A series of CT with a hole, which states ``padding``, one for all or each; the number of the missing plane."""
    n = int(rng.integers(7, 12))
    hole = int(rng.integers(2, n - 2))
    kept = np.delete(np.arange(n), hole)

    def edit(data, k):
        value = padding[k] if isinstance(padding, list) else padding
        if value is not None:
            data.add_new(0x00280120, "SS" if value < 0 else "US", value)

    dtype = "int16" if is_signed else "uint16"
    write_series(folder, kept * 1.5, edit=edit, dtype=dtype, numbers=(kept + 1).tolist(), **options)
    return hole


def planes(path):
    return np.asarray(nibabel.load(path).dataobj).T


@pytest.mark.parametrize("seed", range(6))
def test_padding_that_all_slices_state_is_the_background(tmp_path, seed):
    rng = np.random.default_rng(seed)
    intercept, slope = float(rng.integers(-1100, 10)), 1.0 if seed % 2 else 0.5
    value = int(rng.integers(-2000, 0)) if seed % 3 else int(rng.integers(0, 3000))
    given = value + (1 << 16) if seed == 1 else value  # some write the bits of a signed number as US
    hole = write_with_hole(tmp_path / "in", rng, given, intercept=intercept, slope=slope)
    said = succeed("resample", tmp_path / "in", tmp_path / "v.nii")
    made = planes(tmp_path / "v.nii")
    assert (made[hole] == slope * value + intercept).all() and "water in CT" not in said
    succeed("resample", tmp_path / "in", tmp_path / "w.nii", "--background", -7)
    assert (planes(tmp_path / "w.nii")[hole] == -7).all()


@pytest.mark.parametrize("seed", range(5))
def test_without_padding_water_among_air_is_told(tmp_path, seed):
    rng = np.random.default_rng(seed)
    several = [int(v) for v in rng.integers(0, 1000, 20)]
    hole = write_with_hole(tmp_path / "in", rng, several if seed % 2 else None, intercept=-1024.0)
    said = succeed("resample", tmp_path / "in", tmp_path / "v.nii")
    assert not planes(tmp_path / "v.nii")[hole].any()
    assert "water in CT (--background -1024 is air)" in said
    said = succeed("resample", tmp_path / "in", tmp_path / "w.nii", "--background", -1024)
    assert "water in CT" not in said
    write_series(tmp_path / "whole", np.arange(6) * 1.5, intercept=-1024.0)
    assert "water in CT" not in succeed("resample", tmp_path / "whole", tmp_path / "x.nii")


@pytest.mark.parametrize("seed", range(6))
def test_padding_is_not_mixed_with_what_was_measured(tmp_path, seed):
    """Every voxel is that of the field, or padding where a pixel that it would take part of is."""
    rng = np.random.default_rng(seed)
    n, is_signed, slope = 6, bool(seed % 2), float(rng.choice([1.0, 0.5]))
    value = -2000 if is_signed else 4000
    limit = value - 5 if seed in (2, 3) else None
    places = np.cumsum(rng.uniform(1, 2, n))
    shear = (0.0, 0.3 if seed >= 4 else 0.0)
    inside = rng.random((n, 6, 5)) < 0.7

    def edit(data, k):
        pixels = np.frombuffer(data.PixelData, "i2" if is_signed else "u2").reshape(6, 5).copy()
        pixels[~inside[k]] = value
        if limit is not None:
            pixels[0, 0] = limit
        data.PixelData = pixels.tobytes()
        data.add_new(0x00280120, "SS" if is_signed else "US", value)
        if limit is not None:
            data.add_new(0x00280121, "SS" if is_signed else "US", limit)

    def field(x, y, z):
        return 300 + 2 * x + 3 * y + 4 * z

    write_series(
        tmp_path / "in",
        places,
        edit=edit,
        dtype="int16" if is_signed else "uint16",
        slope=slope,
        pixels=field,
        shear=shear,
    )
    succeed("resample", tmp_path / "in", tmp_path / "v.nii", "--spacing", "0.4", *(["--unshear"] if shear[1] else []))
    image = nibabel.load(tmp_path / "v.nii")
    made = np.asarray(image.dataobj, np.float64)
    at = np.moveaxis(np.indices(made.shape), 0, -1) @ image.affine[:3, :3].T + image.affine[:3, 3]
    due = field(-at[..., 0], -at[..., 1], at[..., 2])
    empty = [slope * value] if limit is None else [slope * value, slope * limit]
    is_empty = np.isin(made, empty)
    assert 0 < is_empty.mean() < 1 and (np.abs(made - due)[~is_empty] < slope / 2 + 0.51).all()


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_padding_beyond_the_stored_bits_is_ignored(tmp_path, bits):
    def edit(data, _):
        data.BitsStored, data.HighBit = bits, bits - 1
        data.add_new(0x00280120, "US", 1 << bits)

    along = np.delete(np.arange(8), 4) * 1.5
    write_series(tmp_path / "in", along, edit=edit, dtype="uint16", pixels=lambda x, y, z: 100 + 0 * x)
    succeed("resample", tmp_path / "in", tmp_path / "v.nii")
    made = planes(tmp_path / "v.nii")
    assert not made[4].any() and (made[3] == 100).all()
