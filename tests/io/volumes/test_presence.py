"""Precomputed volumes of many layouts, whole and damaged: what is read is right to the voxel, or there is an error."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError
from gpustitch.io.volumes.opening import open_volume
from gpustitch.model import Box
from tests.io.volumes.stored_volumes import (
    COMPRESS,
    DTYPES,
    MISSING,
    change_scales,
    chunk_files,
    folder,
    precomputed,
    read,
)

layouts = st.fixed_dictionaries(
    {
        "encoding": st.sampled_from(sorted(DTYPES)),
        "suffix": st.sampled_from(sorted(COMPRESS)),
        "separator": st.sampled_from("_/"),
        "offset": st.sampled_from([(0, 0, 0), (16, 8, 0), (7, 0, -5)]),
        "chunk": st.sampled_from([(8, 8, 8), (5, 20, 4), (18, 13, 9)]),
        "coarse_first": st.booleans(),
    }
)


@settings(max_examples=25, deadline=None)
@given(layouts, st.integers(0, 1), st.data())
def test_every_layout_is_read_exactly(layout, level, data):
    with folder() as path:
        voxels = precomputed(path, **layout)[level]
        volume = open_volume(path, level=level)
        assert volume.n_missing == 0 and volume.spacing.x_um == 0.004 * 2**level
        a, b = np.sort([data.draw(st.tuples(*(st.integers(0, n) for n in voxels.shape))) for _ in "ab"], axis=0)
        box = Box(tuple(map(int, a)), tuple(map(int, b)))
        np.testing.assert_array_equal(volume.read(box), voxels[box.slices()])
        np.testing.assert_array_equal(read(path, level=level), voxels)


def lose(path, data):
    for file in data.draw(st.lists(st.sampled_from(chunk_files(path)), min_size=1, unique=True)):
        file.unlink()


def lose_folder(path, data):
    shutil.rmtree(path / data.draw(st.sampled_from(["4", "8"])))


def empty_folder(path, data):
    lose_folder(path, data)
    for name in "48":
        (path / name).mkdir(exist_ok=True)


def rename(path, data):
    files = chunk_files(path)
    suffix = data.draw(st.sampled_from([".xz", ".bak", "~", ".gz.part"]))
    for file in data.draw(st.sampled_from([files, files[::2], files[:1]])):
        file.rename(file.with_name(file.name + suffix))


def cut(path, data):
    file = data.draw(st.sampled_from(chunk_files(path)))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // data.draw(st.integers(2, 4))])


def double(path, data):
    file = data.draw(st.sampled_from(chunk_files(path)))
    suffix = data.draw(st.sampled_from([s for s in COMPRESS if not file.name.endswith(s) or not s]))
    file.with_name(file.name.split(".")[0] + (suffix or "")).write_bytes(b"old")


def move_offset(path, data):
    change_scales(path, voxel_offset=data.draw(st.sampled_from([(8, 0, 0), (5, 0, 0), (1, 2, 3), (-16, 8, 24)])))


def change_chunks(path, data):
    change_scales(path, chunk_sizes=[data.draw(st.sampled_from([(4, 8, 8), (16, 16, 16), (8, 8, 9)]))])


def change_size(path, data):
    change_scales(path, size=data.draw(st.sampled_from([(26, 13, 9), (18, 13, 17), (10, 13, 9), (36, 26, 18)])))


DAMAGES = [lose, lose_folder, empty_folder, rename, cut, double, move_offset, change_chunks, change_size]


@settings(max_examples=45, deadline=None)
@given(layouts, st.sampled_from(DAMAGES), st.data())
def test_a_damaged_volume_is_an_error_or_still_exact(layout, damage, data):
    with folder() as path:
        levels = precomputed(path, **layout)
        damage(path, data)
        outcomes = []
        for level, voxels in enumerate(levels):
            try:
                found = read(path, level=level)
            except DamagedInputError as error:
                outcomes.append(str(error))
            else:
                # A size that ends with a chunk describes a part of the volume, of which no file is missing.
                np.testing.assert_array_equal(found, voxels[tuple(slice(n) for n in found.shape)])
        if damage in (lose, lose_folder, empty_folder, cut):
            assert outcomes and all(str(path) in text for text in outcomes)


@pytest.mark.posix
@settings(max_examples=12, deadline=None)
@given(layouts, st.data())
def test_links_to_files_that_were_not_fetched_are_an_error(layout, data):
    layout["chunk"] = (8, 8, 8)
    with folder() as path:
        voxels = precomputed(path, **layout)[0]
        files = [file for file in chunk_files(path) if file.relative_to(path).parts[0] == "4"]
        for file in data.draw(st.lists(st.sampled_from(files), unique=True)):
            file.symlink_to(file.rename(path / file.relative_to(path).as_posix().replace("/", "+")))
        np.testing.assert_array_equal(read(path), voxels)
        lost = data.draw(st.lists(st.sampled_from(files), min_size=1, unique=True))
        for file in lost:
            file.unlink()
            file.symlink_to(path / "objects" / file.name)
        with pytest.raises(DamagedInputError, match=f"{len(lost)} of 12 files of chunks are links that lead nowhere"):
            open_volume(path)
        assert open_volume(path, allow_missing=True).n_missing == len(lost)


@settings(max_examples=20, deadline=None)
@given(layouts, st.data())
def test_what_is_missing_reads_as_zero_only_when_asked_for(layout, data):
    layout["chunk"] = (8, 8, 8)
    with folder() as path:
        voxels = precomputed(path, **layout)[0]
        files = [file for file in chunk_files(path) if file.relative_to(path).parts[0] == "4"]
        lost = data.draw(st.lists(st.sampled_from(files), min_size=1, unique=True))
        for file in lost:
            file.unlink()
        with pytest.raises(DamagedInputError, match=f"{len(lost)} of 12 {MISSING}|has none of its 12 files"):
            open_volume(path)
        volume = open_volume(path, allow_missing=True)
        assert (volume.n_missing, volume.n_files) == (len(lost), 12)
        found = volume.read(Box.of_shape(voxels.shape))
        np.testing.assert_array_equal(found[found > 0], voxels[found > 0])
        chunks = itertools.product(*(range(0, n, 8) for n in voxels.shape))
        n_empty = sum(not found[z : z + 8, y : y + 8, x : x + 8].any() for z, y, x in chunks)
        assert n_empty == len(lost)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda path: shutil.rmtree(path / "4"), "there is no folder .*4, which should hold 12 files of chunks"),
        (lambda path: [file.unlink() for file in chunk_files(path)], "has none of its 12 files .*: it holds nothing"),
        (
            lambda path: change_scales(path, voxel_offset=[100, 0, 0]),
            "it holds 12 files such as 0-8_0-8_0-8; expected names such as 100-108_0-8_0-8",
        ),
        (lambda path: change_scales(path, voxel_offset=[8, 0, 0]), "of another size, offset or layout"),
        (lambda path: (path / "4/0-8_0-8_0-8.br").write_bytes(b""), "0-8_0-8_0-8 and 0-8_0-8_0-8.br of one chunk"),
    ],
)
@pytest.mark.parametrize("allow_missing", [False, True])
def test_what_is_said(tmp_path, damage, text, allow_missing):
    precomputed(tmp_path / "v")
    damage(tmp_path / "v")
    if allow_missing and "nothing" in text:
        assert not read(tmp_path / "v", allow_missing=True).any()
        return
    with pytest.raises(DamagedInputError, match=text):
        open_volume(tmp_path / "v", allow_missing=allow_missing)
