"""Options of converting a volume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpustitch.array import Device
from gpustitch.io.planes.opening import plane_sources
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.write.ome_zarr import VERSIONS
from gpustitch.model import ZYX, Spacing
from gpustitch.model.options import documented, option
from gpustitch.regrid import options as volume_options
from gpustitch.running import options as shared


@documented
@dataclass(frozen=True)
class ConvertOptions:
    """What is converted, and into what."""

    input: Path = option(is_argument=True, metavar="IN", help=f"Volume or planes: {plane_sources()}.")
    output: Path = volume_options.output()
    format: str | None = volume_options.volume_format()
    dtype: str | None = option(
        None,
        help="Type of the voxels; values are rounded and clipped to its limits, and clipped ones are counted.",
        shown="that of IN",
    )
    levels: int | None = volume_options.levels()
    chunk_shape: ZYX | None = volume_options.chunk_shape()
    shard_bytes: int | None = shared.shard_bytes()
    codec: str | None = shared.codec()
    writer: shared.Writer | None = shared.writer()
    compression: int | None = volume_options.compression()
    version: str | None = option(None, help=f"Version of OME-Zarr: {' or '.join(VERSIONS)}.", shown=VERSIONS[0])
    write_empty: bool = shared.write_empty()
    spacing: Spacing | None = option(
        None, flag="--voxel-size", text="spacing", help="Voxel size of IN, um.", shown="what it states"
    )
    channel_name: str | None = option(
        None, help="Name of the channel, such as Ex_488_Em_525, for OME-Zarr.", shown="what IN or its path says"
    )
    memory_bytes: int = shared.memory(1 << 30)
    n_workers: int | None = shared.n_workers()
    n_writers: int = shared.n_writers()
    overwrite: bool = shared.overwrite()
    restart: bool = shared.restart()
    allow_missing: bool = shared.allow_missing()
    choice: StackChoice = shared.stack_choice()
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()
