"""Groups of zarr: which images they hold, and what these say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError, GpustitchError, ParameterError
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.volumes.opening import choices_at, open_volume
from gpustitch.model import Box
from tests.io.volumes.stored_volumes import folder, read
from tests.io.volumes.zarr_writers import attributes, describe, random_voxels, stored, turned

LAYOUT = {"bioformats2raw.layout": 3}


def simple(path, voxels, axes="zyx", zarr_format=2, **more):
    """An array of few bytes."""
    dense = turned(voxels, axes) if axes else voxels
    array = zarr.create_array(
        path, shape=dense.shape, chunks=dense.shape, dtype=dense.dtype, zarr_format=zarr_format, **more
    )
    array[...] = dense


def image(path, axes="zyx", seed=0, **more):
    voxels = np.random.default_rng(seed).integers(1, 200, (3, 4, 5), np.uint16)
    simple(path / "0", voxels, axes)
    describe(path, axes, **more)
    return voxels


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("names", "axes"),
    [
        (["Z", "Y", "X"], "zyx"),
        (["x", "Y", "z"], "xyz"),
        (["T", "C", "Z", "Y", "X"], "tczyx"),
        (["time", "channel", "z", "y", "x"], "tczyx"),
        (["dim_0", "dim_1", "dim_2"], "zyx"),
        (["z", "row", "column"], "zyx"),
    ],
)
def test_arrays_name_their_axes_in_any_case(tmp_path, names, axes, zarr_format):
    voxels = random_voxels("u2")
    if zarr_format == 3:
        simple(tmp_path / "v", voxels, axes, 3, dimension_names=names)
    else:
        simple(tmp_path / "v", voxels, axes)
        (tmp_path / "v/.zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": names}))
    np.testing.assert_array_equal(read(tmp_path / "v"), voxels)


@pytest.mark.parametrize("names", [["x", "row", "z"], ["y", "z", "depth"], ["time", "row", "column"]])
def test_an_array_that_names_other_axes_is_refused(tmp_path, names):
    simple(tmp_path / "v", random_voxels("u2"), "zyx", 3, dimension_names=names)
    with pytest.raises(DamagedInputError, match="z, y and x were expected"):
        open_volume(tmp_path / "v")


def test_an_image_and_its_array_must_agree_about_the_order(tmp_path):
    simple(tmp_path / "v/0", random_voxels("u2"), "zyx", 3, dimension_names=["X", "Y", "Z"])
    describe(tmp_path / "v", "zyx")
    with pytest.raises(DamagedInputError, match="names its dimensions x, y, z, but its image the axes z, y, x"):
        open_volume(tmp_path / "v")


@settings(max_examples=30, deadline=None)
@given(st.permutations("zyx"), st.permutations("tczyx"), st.sampled_from([1, 2]), st.sampled_from([1, 3]), st.data())
def test_channels_and_times_are_chosen_or_refused(three, five, n_channels, n_times, data):
    axes = "".join(data.draw(st.sampled_from([three, five])))
    axes = data.draw(st.sampled_from([axes, axes.upper()]))
    several = {"c": n_channels, "t": n_times}
    shape = tuple(several.get(axis, n) for axis, n in zip(axes.lower(), stored(axes, (3, 4, 5)), strict=True))
    dense = np.random.default_rng(0).integers(1, 60000, shape, np.uint16)
    with folder() as path:
        simple(path / "0", dense, None)
        describe(path, axes)
        lengths = dict(zip(axes.lower(), shape, strict=True))
        at = {axis: data.draw(st.integers(0, n - 1)) for axis, n in lengths.items() if axis in "ct"}
        chosen = {axis: str(at[axis] + 1) for axis in at if lengths[axis] > 1}
        choice = StackChoice(stack_channel=chosen.get("c"), stack_time=chosen.get("t"))
        expected = dense[tuple(at.get(axis, slice(None)) for axis in axes.lower())]
        expected = expected.transpose([[a for a in axes.lower() if a in "zyx"].index(axis) for axis in "zyx"])
        np.testing.assert_array_equal(open_planes(path, choice=choice).read(0, 3), expected)
        if chosen:
            n = lengths.get("c", 1) * lengths.get("t", 1)
            with pytest.raises(ParameterError, match=f"holds {n} stacks; choose one by `stack_"):
                open_planes(path)
            with pytest.raises(ParameterError, match=f"holds {n} volumes, but one was expected"):
                open_volume(path)
            with pytest.raises(ParameterError, match="holds no stack with"):
                open_planes(path, choice=StackChoice(stack_channel="9"))


def test_channels_are_listed_by_their_labels(tmp_path):
    simple(tmp_path / "0", np.ones((2, 3, 4, 5), np.uint16), None)
    describe(tmp_path, "czyx")
    content = json.loads((tmp_path / ".zattrs").read_text()) | {"omero": {"channels": [{"label": "DAPI"}, {}]}}
    (tmp_path / ".zattrs").write_text(json.dumps(content))
    text = r"by `stack_channel` or `stack_series`: 1: DAPI \(channel 1, 3 x 4 x 5 voxels\); 2: .* \(channel 2"
    with pytest.raises(ParameterError, match=text):
        open_planes(tmp_path)
    assert open_planes(tmp_path, choice=StackChoice(stack_series="DAPI")).shape == (3, 4, 5)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_layouts_of_bioformats2raw(tmp_path, listed, zarr_format):
    attributes(tmp_path, LAYOUT, zarr_format)
    one = image(tmp_path / "0")
    if listed:
        attributes(tmp_path / "OME", {"series": ["0"]}, zarr_format)
    volume = open_volume(tmp_path)
    assert volume.path == tmp_path / "0" and volume.spacing.z_um == 1
    np.testing.assert_array_equal(read(tmp_path), one)
    ((name, choice),) = choices_at(tmp_path)
    assert name == tmp_path.name and choice == StackChoice()
    two = image(tmp_path / "1", seed=1)
    if listed:
        np.testing.assert_array_equal(read(tmp_path), one)
        attributes(tmp_path / "OME", {"series": ["0", "1"]}, zarr_format)
    with pytest.raises(ParameterError, match=rf"2 images.* name the folder of one: 1: 0 \({tmp_path}/0\); 2: 1 "):
        open_volume(tmp_path)
    with pytest.raises(ParameterError, match="choose one by `stack_series`"):
        open_planes(tmp_path)
    names, choices = zip(*choices_at(tmp_path), strict=True)
    assert names == (f"0 {tmp_path.name}", f"1 {tmp_path.name}")
    assert choices == (StackChoice(stack_series="1"), StackChoice(stack_series="2"))
    np.testing.assert_array_equal(open_planes(tmp_path, choice=StackChoice(stack_series="2")).read(0, 3), two)
    np.testing.assert_array_equal(read(tmp_path / "1"), two)
    if listed:
        attributes(tmp_path / "OME", {"series": ["0", "7"]}, zarr_format)
        with pytest.raises(DamagedInputError, match=r"there is no image .*7"):
            open_volume(tmp_path)


def test_a_layout_without_series(tmp_path):
    attributes(tmp_path, LAYOUT)
    with pytest.raises(DamagedInputError, match="there is none"):
        open_volume(tmp_path)


def test_several_images_of_one_group(tmp_path):
    image(tmp_path)
    content = json.loads((tmp_path / ".zattrs").read_text())
    other = content["multiscales"][0] | {"name": "small", "datasets": [{"path": "1"}]}
    simple(tmp_path / "1", np.full((1, 2, 3), 9, np.uint16))
    (tmp_path / ".zattrs").write_text(json.dumps({"multiscales": [*content["multiscales"], other]}))
    with pytest.raises(ParameterError, match="holds 2 images"):
        open_volume(tmp_path)
    assert open_planes(tmp_path, choice=StackChoice(stack_series="small")).shape == (1, 2, 3)


def test_plates_wells_labels_and_nested_groups_are_refused_with_what_lies_below(tmp_path):
    plate, well = tmp_path / "plate", tmp_path / "plate/A/1"
    attributes(plate, {"plate": {"wells": [{"path": "A/1"}, {"path": "A/2"}]}})
    attributes(well, {"well": {"images": [{"path": "0"}, {"path": "1"}]}})
    image(well / "0")
    image(well / "1")
    with pytest.raises(DamagedInputError, match=f"plate of 2 wells; .* such as {well}/0 or {well}/1; a volume"):
        open_volume(plate)
    with pytest.raises(DamagedInputError, match=f"well of 2 fields of view; name one, such as {well}/0 or {well}/1"):
        open_volume(well)
    attributes(tmp_path / "labels", {"labels": ["nuclei"]})
    image(tmp_path / "labels/nuclei")
    with pytest.raises(DamagedInputError, match=f"such as {tmp_path}/labels/nuclei"):
        open_volume(tmp_path / "labels")
    attributes(tmp_path / "nested", {})
    image(tmp_path / "nested/brain")
    with pytest.raises(DamagedInputError, match=f"such as {tmp_path}/nested/brain"):
        open_volume(tmp_path / "nested")


@settings(max_examples=25, deadline=None)
@given(st.permutations([0, 1, 2]), st.sampled_from(["scales", "same", "none"]))
def test_levels_in_any_order(order, said):
    fine = random_voxels("u2", (8, 8, 8))
    levels = [fine, fine[::2, ::2, ::2], fine[::4, ::4, ::4]]
    with folder() as path:
        for number, voxels in enumerate(levels):
            simple(path / str(number), voxels)
        describe(path, "zyx", [str(n) for n in order], [2.0**n if said == "scales" else 1.0 for n in order])
        if said == "none":
            content = json.loads((path / ".zattrs").read_text())
            for dataset in content["multiscales"][0]["datasets"]:
                del dataset["coordinateTransformations"]
            (path / ".zattrs").write_text(json.dumps(content))
        for level, voxels in enumerate(levels):
            volume = open_volume(path, level=level)
            np.testing.assert_array_equal(volume.read(Box.of_shape(voxels.shape)), voxels)
            assert (volume.stated_spacing is None) == (said == "none")


def test_levels_whose_scales_contradict_their_sizes(tmp_path):
    for number, n in enumerate((8, 4)):
        simple(tmp_path / str(number), random_voxels("u2", (n, n, n)))
    describe(tmp_path, "zyx", ["0", "1"], [2.0, 1.0])
    with pytest.raises(DamagedInputError, match="larger scale has more voxels"):
        open_volume(tmp_path)


def test_two_axes_of_one_name_in_other_cases(tmp_path):
    simple(tmp_path / "0", np.ones((1, 2, 3, 3)), None)
    describe(tmp_path, "zyxX")
    with pytest.raises(DamagedInputError, match="two have one name"):
        open_volume(tmp_path)


@pytest.mark.parametrize("name", ["v.zarr.zip", "v.OZX"])
def test_a_zip_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    for opener in (open_volume, open_planes):
        with pytest.raises(ParameterError, match="unpack it"):
            opener(tmp_path / name)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.text("zyxct0", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("zyx0", max_size=2), inner, max_size=2),
    max_leaves=4,
)
_PLACES = ("multiscales", "axes", "datasets", "path", "name", "coordinateTransformations", "scale", "type", "version")


def spoil(content, key, value):
    """Put a value in the place of every ``key``."""
    if isinstance(content, dict):
        return {k: value if k == key else spoil(v, key, value) for k, v in content.items()}
    return [spoil(v, key, value) for v in content] if isinstance(content, list) else content


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(_PLACES), json_values, st.booleans())
def test_spoiled_descriptions_are_errors_or_still_exact(key, value, has_layout):
    with folder() as path:
        voxels = image(path / "0")
        content = json.loads((path / "0/.zattrs").read_text())
        (path / "0/.zattrs").write_text(json.dumps(spoil(content, key, value)))
        attributes(path, LAYOUT if has_layout else {"plate": value})
        for place in (path, path / "0"):
            try:
                found = read(place)
            except GpustitchError:
                continue
            np.testing.assert_array_equal(found, voxels)
