"""Of several stacks at one place, each has the voxel size and the place that it states itself."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.io.images.tiff_facts import tiff_facts
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.stacks.choice import StackChoice
from tests.paths import temporary


@st.composite
def scenes(draw):
    """Sizes of voxels (z, y, x) and places, um, and shapes of several images of one file."""
    sizes = st.tuples(*[st.sampled_from([0.25, 0.5, 2.0, 3.0])] * 3)
    place = st.tuples(*[st.sampled_from([0.0, -7.5, 100.0])] * 3)
    shapes = st.sampled_from([(3, 4, 5), (2, 4, 5), (3, 6, 4), (1, 9, 7)])
    return draw(st.lists(st.tuples(sizes, place, shapes), min_size=2, max_size=4))


@settings(max_examples=25, deadline=None)
@given(scenes())
def test_each_of_several_images_has_its_own_spacing_and_place(images):
    with temporary() as folder:
        voxels = [np.random.default_rng(k).integers(0, 200, one[2]).astype(np.uint16) for k, one in enumerate(images)]
        with tifffile.TiffWriter(folder / "a.ome.tif", ome=True) as tiff:
            for array, (size, place, _) in zip(voxels, images, strict=True):
                stated = {f"PhysicalSize{a}": um for a, um in zip("ZYX", size, strict=True)}
                stated["Plane"] = {f"Position{a}": [um] * len(array) for a, um in zip("ZYX", place, strict=True)}
                stated["Plane"] |= {f"Position{a}Unit": ["µm"] * len(array) for a in "ZYX"}
                tiff.write(array, photometric="minisblack", metadata={"axes": "ZYX", **stated})
        for k, (size, place, _) in enumerate(images):
            planes = open_planes(folder / "a.ome.tif", choice=StackChoice(stack_series=str(k + 1)))
            np.testing.assert_array_equal(planes.read(0, len(voxels[k])), voxels[k])
            assert planes.spacing is not None and planes.spacing.zyx_um == pytest.approx(size)
            assert planes.origin_um == pytest.approx(place)
        with pytest.raises(ParameterError, match=f"holds {len(images)} stacks; choose one"):
            open_planes(folder / "a.ome.tif")
        alike = [len({one[0][axis] for one in images}) == 1 for axis in range(3)]
        of_any = tiff_facts(folder / "a.ome.tif")
        assert [um is not None for um in of_any.stated_um] == alike and (of_any.spacing is None) == (not all(alike))


@pytest.mark.parametrize("chosen", ["first", "second"])
def test_a_chosen_stack_of_files_states_its_own_spacing(tmp_path, chosen):
    for name, um in (("first", 2.0), ("second", 0.5)):
        for k in range(3):
            tifffile.imwrite(
                tmp_path / f"{name}_{k}.tif", np.zeros((4, 5), np.uint16), imagej=True,
                metadata={"spacing": um, "unit": "um"}, resolution=(1 / um, 1 / um),
            )  # fmt: skip
    planes = open_planes(tmp_path, choice=StackChoice(stack_series=chosen))
    um = {"first": 2.0, "second": 0.5}[chosen]
    assert planes.spacing is not None and planes.spacing.zyx_um == pytest.approx((um, um, um))
