"""Volumes on the disk as other programs and we write them, small, and changed afterwards."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
import tensorstore as ts

from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.write.opening import open_output
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample
from tests.paths import temporary

DTYPES = {"raw": "uint16", "jpeg": "uint8", "png": "uint8", "compressed_segmentation": "uint32"}
COMPRESS = {"": bytes, ".gz": gzip.compress, ".br": imagecodecs.brotli_encode, ".zstd": imagecodecs.zstd_encode}
MISSING = "files of chunks are missing"


@contextmanager
def folder() -> Iterator[Path]:
    with temporary() as place:
        yield place / "v"


def read(path, **options):
    volume = open_volume(path, **options)
    return volume.read(Box.of_shape(volume.coverage.shape))


def scale_of(shape, resolution, chunk, offset, encoding):
    scale = {"key": str(resolution), "size": shape[::-1], "resolution": [resolution] * 3, "voxel_offset": offset}
    scale |= {"chunk_sizes": [chunk], "encoding": encoding}
    return scale | ({"compressed_segmentation_block_size": [4, 4, 4]} if encoding[0] == "c" else {})


def precomputed(
    path, *, encoding="raw", suffix="", separator="_", offset=(0, 0, 0), chunk=(8, 8, 8), coarse_first=False
):
    """A volume of two levels as tensorstore writes it; names and compression are changed afterwards. The levels."""
    random = np.random.default_rng(0)
    levels = [random.integers(1, 200, shape).astype(DTYPES[encoding]) for shape in ((9, 13, 18), (5, 7, 9))]
    scales = [scale_of(v.shape, 4 << i, chunk, offset, encoding) for i, v in enumerate(levels)]
    info = {
        "type": "image",
        "data_type": DTYPES[encoding],
        "num_channels": 1,
        "@type": "neuroglancer_multiscale_volume",
    }
    path.mkdir(parents=True)
    (path / "info").write_text(json.dumps({**info, "scales": scales[:: -1 if coarse_first else 1]}))
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{path}/"}}
    spec["context"] = {"file_io_sync": False}
    for i, (voxels, scale) in enumerate(zip(levels, scales, strict=True)):
        store = ts.open({**spec, "scale_metadata": {"key": scale["key"]}}).result()
        store = store[ts.d["channel"][0]].translate_to[0].transpose([2, 1, 0])
        store.write(voxels).result()
        levels[i] = store.read().result()  # JPEG does not keep the values
    for file in chunk_files(path):
        moved = file.parent / (file.name.replace("_", separator) + suffix)
        moved.parent.mkdir(parents=True, exist_ok=True)
        data = file.read_bytes()
        file.unlink()
        moved.write_bytes(COMPRESS[suffix](data))
    return levels


def chunk_files(path):
    return sorted(file for scale in ("4", "8") for file in (path / scale).rglob("*") if file.is_file())


def change_scales(path, **change):
    info = json.loads((path / "info").read_text())
    for scale in info["scales"]:
        scale.update(change)
    (path / "info").write_text(json.dumps(info))


def ours(path, voxels, **options):
    shared = {"downsample": downsample, "levels": 2, "chunk_shape": (8, 8, 8), "flush": False}
    with open_output(path, voxels.shape, voxels.dtype, Spacing(1, 1, 1), **shared | options) as output:
        for box in output.blocks():
            output.write(box, voxels[box.slices()])


def half_empty():
    voxels = np.random.default_rng(1).integers(1, 200, (20, 17, 24), np.uint16)
    voxels[:8, 8:] = 0
    voxels[:, :, 16:] = 0
    return voxels


def array(path, voxels, *, driver="zarr3", separator="/", encoding="default", sharded=False, fill=0):
    """An array as tensorstore writes it, in chunks of 8."""
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}]
    if driver == "zarr":
        metadata = {"shape": voxels.shape, "chunks": [8] * 3, "dtype": "<u2", "fill_value": fill, "compressor": None}
        metadata["dimension_separator"] = separator
    else:
        if sharded:
            inner = {"chunk_shape": [4] * 3, "codecs": codecs}
            codecs = [{"name": "sharding_indexed", "configuration": inner}]
        metadata = {"shape": voxels.shape, "data_type": "uint16", "codecs": codecs, "fill_value": fill}
        metadata["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": [8] * 3}}
        metadata["chunk_key_encoding"] = {"name": encoding, "configuration": {"separator": separator}}
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}, "metadata": metadata}
    ts.open(spec, create=True).result().write(voxels).result()
