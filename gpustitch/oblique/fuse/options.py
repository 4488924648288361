"""Options of fusion: where volumes lie, how they are placed, evened out and written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpustitch.array import Device
from gpustitch.io.write.formats import names_of_outputs
from gpustitch.io.write.pyramid_layout import DEFAULT_LEVELS
from gpustitch.model import ZYX
from gpustitch.model.options import documented, nested, option
from gpustitch.running import options as shared

VOLUME = "Volume"  # heading of the options


@documented
@dataclass(frozen=True)
class Intensity:
    """Correction of brightness that falls off along y within each tile (:mod:`gpustitch.oblique.fuse.intensity`).

    Without ``last_to_first`` and ``is_estimated`` there is no correction. ``seed`` decides where the patches lie.
    """

    last_to_first: float | None = option(
        None,
        flag="--y-illum-corr",
        help="Brightness of each tile's last row over that of its first row; corrects the tiles' brightness along y.",
        panel=VOLUME,
    )
    is_estimated: bool = option(
        False,
        flag="--compute-y-illum-corr",
        help="Estimate this brightness ratio where tiles overlap along y, and correct the tiles by it.",
        panel=VOLUME,
    )
    n_patches: int = option(1000, flag="--n-y-illum-patches", help="Patches for this estimate.", panel=VOLUME)
    min_mean: float = option(100, flag="--min-y-illum-mean", help="Least mean of a patch that counts.", panel=VOLUME)
    min_correlation: float = option(
        0.8,
        flag="--min-y-illum-corr-coef",
        help="Least correlation of the two tiles in a patch that counts.",
        panel=VOLUME,
    )
    seed: int = 0


@documented
@dataclass(frozen=True)
class StitchOptions:
    """How a mosaic is fused and written. ``size`` and ``offset`` (z, y, x) select the part of the mosaic to write.

    ``beside`` are the names of other formats that the volume is written in too, compressed by ``beside_codec``, each
    called as ``output`` with the format's suffix. ``later_codec`` is that of formats that are made of the finished
    volume; fusion does not write them. ``channel`` is the channel's name, for formats that hold one.
    """

    output: Path = option(
        flag="--output -o", help=f"Folder of the volume to write: {names_of_outputs(in_order=False)}."
    )
    levels: int = shared.levels(DEFAULT_LEVELS, panel=VOLUME)
    chunk_shape: ZYX = shared.chunk_shape(panel=VOLUME)
    shard_bytes: int | None = shared.shard_bytes(panel=VOLUME)
    codec: str | None = shared.codec(panel=VOLUME)
    writer: shared.Writer | None = shared.writer(panel=VOLUME)
    write_empty: bool = shared.write_empty(panel=VOLUME)
    size: ZYX | None = option(
        None, flag="--output-size", text="xyz", help="Voxels x,y,z to write.", shown="the whole mosaic", panel=VOLUME
    )
    offset: ZYX | None = option(
        None, flag="--output-offset", text="xyz", help="First voxel x,y,z to write.", shown="0,0,0", panel=VOLUME
    )
    intensity: Intensity = nested(Intensity)
    n_workers: int | None = shared.n_workers()
    n_writers: int = shared.n_writers()
    overwrite: bool = shared.overwrite()
    restart: bool = shared.restart()
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()
    beside: tuple[str, ...] = ()
    beside_codec: str | None = None
    later_codec: str | None = None
    channel: str | None = None


@documented
@dataclass(frozen=True)
class TreeOptions:
    """Where the volumes are and how they are placed (:func:`gpustitch.oblique.mosaic.placing.place_found`)."""

    input: Path = option(flag="--input -i", help="Folder of the volumes: X/X_Y/Z, tenths of a micron.")
    alignment: Path | None = option(None, help="JSON of oblique-align.", shown="the stage's positions")
    x_step_um: float | None = option(
        None, flag="--x-step-size", unit="um", help="Distance between frames, um.", shown="what the volumes say"
    )
    y_voxel_um: float | None = option(
        None,
        flag="--y-voxel-size",
        unit="um",
        help="Camera pixel, um.",
        shown="what the alignment says, else the volumes",
    )
    z_offset: int | None = option(
        None, help="Voxels from a tile to the next along z.", shown="what the folders' names say"
    )
    negative_y: bool = option(False, help="The stage's y runs against the camera's (not with `alignment`).")
    allow_missing: bool = shared.allow_missing_chunks()


@dataclass(frozen=True)
class StitchTreeOptions:
    """Volumes in a folder, and how they are fused."""

    source: TreeOptions = nested(TreeOptions)
    stitch: StitchOptions = nested(StitchOptions)
