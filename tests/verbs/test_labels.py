"""What arrays of xarray say of their axes is heard."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray

import gpustitch as gs
from gpustitch.errors import ParameterError
from tests.verbs.libraries import texture


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("unit, um", [("um", 1), ("nm", 1e-3), ("mm", 1e3)])
def test_labels_are_the_place_of_what_is_written(seed, unit, um, tmp_path):
    rng = np.random.default_rng(seed)
    voxels, steps, first = texture((5, 6, 7), seed), rng.uniform(0.2, 5, 3), rng.uniform(-1e4, 1e4, 3)
    coords = {
        axis: (axis, a + s * np.arange(n), {"units": unit})
        for axis, a, s, n in zip("zyx", first, steps, voxels.shape, strict=True)
    }
    array = xarray.DataArray(voxels, dims=("z", "y", "x"), coords=coords)
    found = gs.open_volume(gs.write(tmp_path / "v.zarr", array))
    assert found.spacing_um == pytest.approx(steps * um, rel=1e-9)
    assert found.origin_um == pytest.approx(first * um, rel=1e-9)
    again = gs.open_volume(gs.write(tmp_path / "w", found.to_xarray()))
    assert again.origin_um == pytest.approx(found.origin_um)
    with pytest.raises(ParameterError, match="spacing_um"):
        gs.write(tmp_path / "x.zarr", array, (1, 2, 3))
    assert gs.align(array, array).offset_px is not None


def test_labels_that_are_no_even_lengths_say_nothing(tmp_path):
    voxels = texture((5, 6, 7))
    even = {axis: (axis, np.arange(n) * 2.0, {"units": "um"}) for axis, n in zip("zyx", voxels.shape, strict=True)}
    for axis, other in (
        ("z", ("z", np.arange(5) ** 2.0, {"units": "um"})),
        ("y", ("y", np.arange(6) * 2.0)),
        ("x", ("x", np.arange(7)[::-1] * 2.0, {"units": "um"})),
        ("x", ("x", list("abcdefg"), {"units": "um"})),
        ("z", ("z", np.arange(5) * 2.0, {"units": "s"})),
    ):
        array = xarray.DataArray(voxels, dims=("z", "y", "x"), coords={**even, axis: other})
        with pytest.raises(ParameterError, match="spacing_um"):
            gs.write(tmp_path / "v.zarr", array)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", [order for order in itertools.permutations("zyx") if order != tuple("zyx")])
@pytest.mark.parametrize(
    "call",
    [
        gs.downsample,
        lambda a: gs.write("never.zarr", a, (1, 1, 1)),
        lambda a: gs.similarity(a, 2),
        lambda a: gs.stitch([a], [(0, 0, 0)], (1, 1, 1)),
        lambda a: gs.render(a, np.arange(len(a))),
        lambda a: gs.deskew(a, 1.8, 1.28),
    ],
)
def test_labels_in_another_order_are_refused(order, call):
    array = xarray.DataArray(texture((6, 7, 8)), dims=order)
    with pytest.raises(ParameterError, match="transpose"):
        call(array)


def test_labels_in_order_among_others_are_taken():
    image = xarray.DataArray(texture((40, 50)), dims=("y", "x"))
    assert gs.destripe(image, sigma=4).shape == (40, 50)
    frames = xarray.DataArray(texture((6, 7, 8)), dims=("frame", "row", "column"))
    assert gs.deskew(frames, 1.8, 1.28).shape[0] == 8
    with pytest.raises(ParameterError, match="transpose"):
        gs.destripe(xarray.DataArray(texture((40, 50)), dims=("x", "y")), sigma=4)
