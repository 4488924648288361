"""zarr arrays that zarr-python wrote: every layout is read exactly, or there is an error."""

from __future__ import annotations

import json
import subprocess
import sys

import numcodecs
import numpy as np
import pytest
import zarr.codecs.numcodecs
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.volumes.zarr_arrays import open_zarr_array
from gpustitch.model import Box
from tests.io.volumes.stored_volumes import folder, read
from tests.io.volumes.zarr_writers import CHUNKS, SHAPE, create, describe, random_voxels, v2_layouts, v3_layouts, write

layouts = st.one_of(v2_layouts, v3_layouts)
UNKNOWN_TO_TENSORSTORE = {"lz4", "lzma", "zstd-checksum"}


def box_of(data, shape):
    a, b = np.sort([data.draw(st.tuples(*(st.integers(0, n) for n in shape))) for _ in "ab"], axis=0)
    return Box(tuple(map(int, a)), tuple(map(int, b)))


@settings(max_examples=40, deadline=None)
@given(layouts, st.data())
def test_every_layout_is_read_exactly(layout, data):
    voxels = random_voxels(layout["dtype"])
    with folder() as path:
        write(path / "0", voxels, layout)
        describe(path, layout["axes"])
        volume = open_volume(path)
        assert volume.n_missing == 0 and volume.dtype == voxels.dtype and volume.axes == tuple(layout["axes"].lower())
        box = box_of(data, SHAPE)
        np.testing.assert_array_equal(volume.read(box), voxels[box.slices()])
        np.testing.assert_array_equal(read(path), voxels)
        is_beyond = layout["codec"] in UNKNOWN_TO_TENSORSTORE or layout.get("filters", "none") != "none"
        is_beyond |= "is_big" in layout and layout["codec"] in ("zlib", "bz2")
        assert volume.reader == ("zarr-python" if is_beyond else "tensorstore")


@settings(max_examples=15, deadline=None)
@given(layouts, st.data())
def test_chunks_that_were_not_written_hold_the_fill_value(layout, data):
    with folder() as path:
        layout["axes"] = "zyx"
        box = box_of(data, SHAPE)
        assume(box.size)
        voxels = np.full(SHAPE, layout["fill_value"], np.dtype(layout["dtype"]).newbyteorder("="))
        voxels[box.slices()] = random_voxels(layout["dtype"])[box.slices()]
        create(path, layout)[box.slices()] = voxels[box.slices()]
        np.testing.assert_array_equal(read(path), voxels)
        outside = open_volume(path).read(Box((-1, 0, 0), (1, 2, 2)))
        assert not outside[0].any() and (outside[1] == voxels[0, :2, :2]).all()


def cut(path, file, data):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // data.draw(st.integers(2, 5))])


def garbage(path, file, data):
    file.write_bytes(data.draw(st.binary(max_size=60)))


def other_separator(path, file, data):
    name = "zarr.json" if (path / "zarr.json").is_file() else ".zarray"
    array = json.loads((path / name).read_text())
    if name == ".zarray":
        array["dimension_separator"] = "/" if array.get("dimension_separator", ".") == "." else "."
    else:
        options = array["chunk_key_encoding"].setdefault("configuration", {})
        options["separator"] = "." if options.get("separator", "/") == "/" else "/"
    (path / name).write_text(json.dumps(array))


def chunk_file(path, data):
    return data.draw(st.sampled_from(sorted(f for f in path.rglob("*") if f.is_file() and f.name[0] in "c0123456789")))


@settings(max_examples=30, deadline=None)
@given(layouts, st.sampled_from([cut, garbage, other_separator]), st.data())
def test_a_damaged_array_is_an_error(layout, damage, data):
    voxels = random_voxels(layout["dtype"])
    # What is stored without any check may be changed unseen, but not shortened.
    assume(damage is not garbage or layout["codec"] not in ("none", "lz4"))
    layout["axes"] = "zyx"
    with folder() as path:
        write(path, voxels, layout)
        damage(path, chunk_file(path, data), data)
        with pytest.raises(DamagedInputError, match=str(path)):
            read(path)


@pytest.mark.posix
@settings(max_examples=12, deadline=None)
@given(layouts, st.data())
def test_a_link_to_a_file_that_was_not_fetched_is_an_error(layout, data):
    layout["axes"] = "zyx"
    with folder() as path:
        write(path, random_voxels(layout["dtype"]), layout)
        file = chunk_file(path, data)
        file.unlink()
        file.symlink_to(path / "objects" / file.name)
        with pytest.raises(DamagedInputError, match=r"1 of .* files of chunks are links that lead nowhere"):
            read(path)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_codec_that_nobody_knows_is_named(tmp_path, zarr_format):
    array = zarr.create_array(tmp_path / "v", shape=SHAPE, chunks=CHUNKS, dtype="u2", zarr_format=zarr_format)
    array[...] = 1
    file = tmp_path / "v" / ("zarr.json" if zarr_format == 3 else ".zarray")
    content = json.loads(file.read_text())
    if zarr_format == 2:
        content["compressor"] = {"id": "cram9"}
    else:
        content["codecs"][1:] = [{"name": "cram9", "configuration": {}}]
    file.write_text(json.dumps(content))
    with pytest.raises(DamagedInputError, match=r"its codecs: .*cram9"):
        OmeZarrVolume(tmp_path / "v")


@pytest.mark.parametrize("dtype", ["bool", "complex64", "S4", "U3", "M8[s]", [("a", "u1"), ("b", "u2")]])
def test_other_types_are_refused(tmp_path, dtype):
    zarr.create_array(tmp_path / "v", shape=SHAPE, chunks=CHUNKS, dtype=np.dtype(dtype), zarr_format=2)
    with pytest.raises(DamagedInputError, match=r"was expected|were expected|its array has|files of chunks"):
        OmeZarrVolume(tmp_path / "v")


@pytest.mark.parametrize("codec", ["zlib", "lz4"])
def test_a_consolidated_description_stands_in_for_the_others(tmp_path, codec):
    compressor = numcodecs.get_codec({"id": codec})
    group = zarr.open_group(tmp_path / "v", mode="w", zarr_format=2)
    array = group.create_array("0", shape=SHAPE, chunks=CHUNKS, dtype="u2", compressors=compressor)
    voxels = random_voxels("u2")
    array[...] = voxels
    describe(tmp_path / "v", "zyx", scales=(0.5,))
    zarr.consolidate_metadata(tmp_path / "v", zarr_format=2)
    for file in (".zattrs", ".zgroup", "0/.zarray", "0/.zattrs"):
        (tmp_path / "v" / file).unlink(missing_ok=True)
    assert open_volume(tmp_path / "v").spacing.z_um == 0.5
    np.testing.assert_array_equal(read(tmp_path / "v"), voxels)


@pytest.mark.parametrize("location", ["start", "end"])
def test_a_shard_that_is_cut_off_within_a_blosc_chunk(tmp_path, location):
    voxels = random_voxels("u2")
    array = zarr.create_array(
        tmp_path / "v",
        shape=SHAPE,
        dtype="u2",
        chunks=CHUNKS,
        shards={"shape": (8, 10, 12), "index_location": location},
        filters=[zarr.codecs.numcodecs.Delta(dtype="<u2")],
        compressors=[zarr.codecs.BloscCodec(cname="lz4")],
    )
    array[...] = voxels
    if location == "end":
        np.testing.assert_array_equal(read(tmp_path / "v"), voxels)
    file = tmp_path / "v/c/0/0/0"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DamagedInputError):
        read(tmp_path / "v")


def test_there_is_no_array(tmp_path):
    with pytest.raises(DamagedInputError, match="there is no zarr array"):
        open_zarr_array(tmp_path)


def test_zarr_python_is_imported_only_for_what_needs_it(tmp_path):
    write(tmp_path / "v", random_voxels("u2"), {"dtype": "<u2", "codec": "zstd", "is_sharded": False,
          "is_transposed": False, "is_big": False, "separator": "/", "fill_value": 0, "axes": "zyx"})  # fmt: skip
    code = (
        "import sys\nfrom gpustitch.io.volumes.opening import open_volume\n"
        f"open_volume({str(tmp_path / 'v')!r})\nprint('zarr' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
