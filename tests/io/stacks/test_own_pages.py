"""Stacks in one TIFF: which of its pages they are, whatever else the file tells a decoder."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.frames.opening import open_frames
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.stacks.in_files import tiff_stacks
from tests.io.stacks.micromanager_files import ome_text, write_mmstack, write_ndtiff
from tests.io.volumes.stored_volumes import folder

SHAPE = (5, 7)


def read(place, **choice):
    frames = open_frames(place, choice=StackChoice(**choice))
    return frames.read(0, frames.shape[0])


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3), st.integers(2, 4), st.integers(1, 2), st.permutations([0, 1, 2]), st.booleans(), st.booleans()
)
def test_planes_of_micro_manager_are_where_its_ome_description_says(n_c, n_z, n_t, order, slices_first, is_split):
    lengths = (n_c, n_z, n_t)
    loops = itertools.product(*(range(lengths[axis]) for axis in order))
    index = [(*(loop[order.index(axis)] for axis in range(3)), 0) for loop in loops]
    pages = np.random.default_rng(0).integers(0, 4000, (len(index), *SHAPE)).astype(np.uint16)
    names = ["s_MMStack_Pos0.ome.tif", "s_MMStack_Pos0_1.ome.tif"]
    half = len(index) // 2 if is_split else len(index)
    places = [(one, names[k >= half], k % half if k < half else k - half) for k, one in enumerate(index)]
    with folder() as path:
        path.mkdir()
        for name, part in zip(names, (slice(half), slice(half, None)), strict=True):
            if index[part]:
                text = ome_text(places, SHAPE, name)
                write_mmstack(path / name, pages[part], index[part], text, slices_first=slices_first)
        for c, t in itertools.product(range(n_c), range(n_t)):
            choice = {"stack_channel": str(c + 1)} if n_c > 1 else {}
            choice |= {"stack_time": str(t + 1)} if n_t > 1 else {}
            wanted = pages[[index.index((c, z, t, 0)) for z in range(n_z)]]
            np.testing.assert_array_equal(read(path, **choice), wanted)
        if n_c == n_t == 1 and is_split:
            np.testing.assert_array_equal(read(path / names[1]), pages[half:])
        elif n_c * n_t > 1:
            with pytest.raises(ParameterError, match=f"holds {n_c * n_t} stacks"):
                read(path)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3), st.integers(2, 5), st.integers(1, 2), st.permutations([0, 1, 2]), st.integers(-3, 3), st.data()
)
def test_planes_of_an_ndtiff_are_where_its_index_says(n_c, n_z, n_t, order, first, data):
    lengths = (n_c, n_z, n_t)
    loops = itertools.product(*(range(lengths[axis]) for axis in order))
    index = [tuple(loop[order.index(axis)] for axis in range(3)) for loop in loops]
    axes = [{"channel": f"ch{c}", "z": z + first, "time": t} for c, z, t in index]
    pages = np.random.default_rng(0).integers(0, 4000, (len(index), *SHAPE)).astype(np.uint16)
    lost = data.draw(st.sampled_from([None, *range(1, n_z - 1)]) if n_z > 3 else st.none())
    with folder() as path:
        path.mkdir()
        file = path / "s_NDTiffStack.tif"
        kept = [k for k, (_, z, _) in enumerate(index) if z != lost]
        write_ndtiff(file, pages[kept], [axes[k] for k in kept])
        assert [len(stack.pages) for stack in tiff_stacks(file)] == [n_z] * (n_c * n_t)
        for c, t in itertools.product(range(n_c), range(n_t)):
            choice = {"stack_channel": f"ch{c}"} if n_c > 1 else {}
            choice |= {"stack_time": str(t + 1)} if n_t > 1 else {}
            wanted = pages[[index.index((c, z, t)) for z in range(n_z)]]
            if lost is None:
                np.testing.assert_array_equal(read(file, **choice), wanted)
                continue
            with pytest.raises(DamagedInputError, match=f"1 of {n_z} planes"):
                read(file, **choice)
            frames = open_frames(file, choice=StackChoice(**choice), allow_missing=True)
            wanted[lost] = 0
            assert frames.absent == {lost}
            np.testing.assert_array_equal(frames.read(0, n_z), wanted)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda file: (file.parent / "NDTiff.index").unlink(), "is an NDTiff without its NDTiff.index"),
        (lambda file: file.rename(file.with_name("b.tif")), "has 4 pages, but .* counts 0 of a file of this name"),
        (lambda file: (file.parent / "NDTiff.index").write_bytes(b""), "counts 0"),
    ],
)
def test_an_ndtiff_without_its_index_is_an_error(tmp_path, spoil, text):
    write_ndtiff(tmp_path / "a.tif", np.zeros((4, *SHAPE), np.uint16), [{"z": z} for z in range(4)])
    spoil(tmp_path / "a.tif")
    (file,) = tmp_path.glob("*.tif")
    with pytest.raises(DamagedInputError, match=text):
        read(file)
