from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from gpustitch.errors import ParameterError
from gpustitch.io.write.formats import OUTPUT_FORMATS
from gpustitch.io.write.shards import DEFAULT_SHARD_BYTES
from gpustitch.io.write.storing import planned_file_bytes
from gpustitch.model import ZYX, Spacing

SPACING = Spacing(2.0, 1.5, 1.5)
SHAPE = (300, 4000, 4000)


@dataclass
class Options:
    levels: int | None = None
    chunk_shape: ZYX | None = None
    shard_bytes: int | None = None
    codec: str | None = None
    write_empty: bool = False
    writer: str | None = None


def planned(format: str, front=(64, 64, 64), most=1 << 40, **options):
    return planned_file_bytes(
        OUTPUT_FORMATS.get(format), Options(**options), SHAPE, np.dtype("uint16"), SPACING, front, most
    )


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        ("precomputed", {"codec": "zstd"}, "`codec` is none, gzip, not zstd"),
        ("precomputed", {"codec": "gzip", "shard_bytes": 0}, "only in shards"),
        ("precomputed", {"codec": "gzip", "write_empty": True}, "only in shards"),
        ("precomputed", {"shard_bytes": 1 << 20, "write_empty": True}, "hold no chunks of zeros"),
        ("ome-zarr", {"codec": "jpeg"}, "`codec` is zstd, lz4, gzip, none, not jpeg"),
        ("ome-zarr", {"shard_bytes": -1}, "`shard_bytes` must be 0"),
        ("tiff", {"codec": "none"}, "no chunks to compress"),
        ("nifti", {"shard_bytes": 1}, "no shards"),
    ],
)
def test_what_a_format_has_not_is_refused(format, options, message) -> None:
    with pytest.raises(ParameterError, match=message):
        planned(format, **options)


@pytest.mark.parametrize(
    ("format", "options", "expected"),
    [
        ("precomputed", {}, DEFAULT_SHARD_BYTES),
        ("ome-zarr", {}, DEFAULT_SHARD_BYTES),
        ("ome-zarr", {"write_empty": True}, DEFAULT_SHARD_BYTES),
        ("precomputed", {"write_empty": True}, 0),
        ("precomputed", {"shard_bytes": 5}, 5),
        ("ome-zarr", {"shard_bytes": 0}, 0),
        ("tiff", {}, None),
    ],
)
def test_files_are_as_stated_or_of_the_default_size(format, options, expected) -> None:
    assert planned(format, **options) == expected


def test_files_are_smaller_where_much_would_be_unfinished() -> None:
    assert planned("precomputed", SHAPE, 1 << 30) < DEFAULT_SHARD_BYTES
    assert planned("precomputed", (64, 4000, 4000), 1 << 31) < DEFAULT_SHARD_BYTES
    assert planned("precomputed", (64, 4000, 4000), 1 << 50) == DEFAULT_SHARD_BYTES
