"""zarr arrays and groups as zarr-python writes them, of many layouts."""

from __future__ import annotations

import json
import warnings

import numcodecs
import numpy as np
import zarr
import zarr.codecs.numcodecs
from hypothesis import strategies as st

SHAPE = (7, 9, 11)
CHUNKS = (4, 5, 6)


FILTERS = {
    "none": lambda dtype: [],
    "delta": lambda dtype: [numcodecs.Delta(dtype.str)],
    "shuffle": lambda dtype: [numcodecs.Shuffle(dtype.itemsize)],
    "offset": lambda dtype: [numcodecs.FixedScaleOffset(offset=1, scale=1, dtype=dtype.str)],
}
V2_CODECS = {
    "none": lambda: None,
    "zlib": numcodecs.Zlib,
    "gzip": numcodecs.GZip,
    "bz2": numcodecs.BZ2,
    "lzma": numcodecs.LZMA,
    "lz4": numcodecs.LZ4,
    "zstd": numcodecs.Zstd,
    "zstd-checksum": lambda: numcodecs.Zstd(checksum=True),
    "blosc": lambda: numcodecs.Blosc("lz4", shuffle=2),
}
V3_CODECS = {
    "none": list,
    "gzip": lambda: [zarr.codecs.GzipCodec()],
    "zstd": lambda: [zarr.codecs.ZstdCodec()],
    "blosc": lambda: [zarr.codecs.BloscCodec(cname="lz4", shuffle="shuffle")],
    "crc32c": lambda: [zarr.codecs.Crc32cCodec()],
    "lz4": lambda: [zarr.codecs.numcodecs.LZ4()],
    "lzma": lambda: [zarr.codecs.numcodecs.LZMA()],
    "zlib": lambda: [zarr.codecs.numcodecs.Zlib()],
    "bz2": lambda: [zarr.codecs.numcodecs.BZ2()],
}
dtypes = st.sampled_from(["|u1", "<u2", ">u2", "<i2", ">i4", "<u4", "<f4", ">f8"])
v2_layouts = st.fixed_dictionaries(
    {
        "dtype": dtypes,
        "filters": st.sampled_from(sorted(FILTERS)),
        "codec": st.sampled_from(sorted(V2_CODECS)),
        "order": st.sampled_from("CF"),
        "separator": st.sampled_from("./"),
        "fill_value": st.sampled_from([0, 7]),
        "axes": st.sampled_from(["zyx", "xyz", "tczyx", "TCZYX", "Zyx", "yxz", "CZYX"]),
    }
)
v3_layouts = st.fixed_dictionaries(
    {
        "dtype": dtypes,
        "codec": st.sampled_from(sorted(V3_CODECS)),
        "is_sharded": st.booleans(),
        "is_transposed": st.booleans(),
        "is_big": st.booleans(),
        "separator": st.sampled_from("./"),
        "fill_value": st.sampled_from([0, 7]),
        "axes": st.sampled_from(["zyx", "xyz", "tczyx", "TCZYX", "Zyx", "yxz", "CZYX"]),
    }
)


def stored(axes, sizes):
    """Lengths (z, y, x) along the axes of an array; 1 along all others."""
    lengths = dict(zip("zyx", sizes, strict=True))
    return tuple(lengths.get(axis.lower(), 1) for axis in axes)


def create(path, layout, *, shape=SHAPE, chunks=CHUNKS):
    """An empty array of a layout."""
    axes, dtype = layout["axes"], np.dtype(layout["dtype"])
    shape, chunks = stored(axes, shape), stored(axes, chunks)
    more = {"zarr_format": 2, "order": layout.get("order")}
    if "filters" in layout:
        more |= {"filters": FILTERS[layout["filters"]](dtype), "compressors": V2_CODECS[layout["codec"]]()}
        more["dtype"] = dtype
        more["chunk_key_encoding"] = {"name": "v2", "separator": layout["separator"]}
    else:
        order = tuple(range(len(axes)))[::-1] if layout["is_transposed"] else ()
        more = {
            "zarr_format": 3,
            "dtype": dtype.newbyteorder("="),
            "filters": [zarr.codecs.TransposeCodec(order=order)] if order else [],
            "serializer": zarr.codecs.BytesCodec(endian="big" if layout["is_big"] else "little"),
            "compressors": V3_CODECS[layout["codec"]](),
            "chunk_key_encoding": {"name": "default", "separator": layout["separator"]},
            "shards": tuple(n * 2 for n in chunks) if layout["is_sharded"] else None,
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zarr.create_array(path, shape=shape, chunks=chunks, fill_value=layout["fill_value"], **more)


def turned(voxels, axes):
    """A volume (z, y, x) as the array of these axes holds it."""
    order = [axis for axis in axes.lower() if axis in "zyx"]
    return voxels.transpose(["zyx".index(axis) for axis in order]).reshape(stored(axes, voxels.shape))


def write(path, voxels, layout):
    array = create(path, layout, shape=voxels.shape)
    array[...] = turned(voxels, layout["axes"])
    return array


def describe(path, axes, levels=("0",), scales=(1.0,), version="0.4", **image):
    """Write the description of an image into the group in ``path``."""
    named = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in axes]
    datasets = [
        {"path": level, "coordinateTransformations": [{"type": "scale", "scale": [scale] * len(axes)}]}
        for level, scale in zip(levels, scales, strict=True)
    ]
    attributes(path, {"multiscales": [{"version": version, "axes": named, "datasets": datasets, **image}]})


def attributes(path, content, zarr_format=2):
    path.mkdir(parents=True, exist_ok=True)
    if zarr_format == 3:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", **content}}}
        (path / "zarr.json").write_text(json.dumps(group))
    else:
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps(content))


def random_voxels(dtype, shape=SHAPE):
    return np.random.default_rng(0).integers(1, 120, shape).astype(np.dtype(dtype).newbyteorder("="))
