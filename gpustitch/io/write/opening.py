"""One way to write a volume block by block, whatever the format."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.journal import Journal
from gpustitch.io.volumes.sidecar import Origin
from gpustitch.io.write.format import Downsample, VolumeOutput, Writing
from gpustitch.io.write.formats import check_takes, format_for
from gpustitch.io.write.in_flight import IN_FLIGHT_BYTES, N_WRITERS
from gpustitch.io.write.pyramid_layout import triple
from gpustitch.model import Spacing
from gpustitch.model.arrays import Floats

_log = logging.getLogger(__name__)
_FARTHEST_UM = 1e12  # a kilometre of kilometres: no specimen lies there


def open_output(
    path: str | Path,
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    spacing: Spacing,
    *,
    downsample: Downsample,
    format: str | None = None,
    levels: int | None = None,
    chunk_shape: Sequence[int] | None = None,
    shard_bytes: int | None = None,
    codec: str | None = None,
    writer: str | None = None,
    version: str | None = None,
    compression: int | None = None,
    affine_lps_mm: Floats | None = None,
    origin_um: Sequence[float] | None = None,
    sidecar: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    n_writers: int = N_WRITERS,
    in_flight_bytes: int = IN_FLIGHT_BYTES,
    flush: bool = True,
    write_empty: bool = False,
    journal: Journal | None = None,
    samples: int = 1,
    n_volumes: int = 1,
    volume_step_s: float | None = None,
    channel: str | None = None,
) -> VolumeOutput:
    """A writer of a volume in the format that the name of ``path``, or ``format``, asks for.

    Parameters
    ----------
    path
        File or folder to create.
    shape, dtype, spacing
        The volume at full resolution (z, y, x). All formats hold uint8, uint16, int16, uint32 and float32.
    downsample
        Halves a block along some axes: :func:`gpustitch.ops.pyramid.downsample`. Used for several levels.
    format
        Name in :data:`OUTPUT_FORMATS`; None for the format that the name of ``path`` asks for (:func:`format_of`).
    levels
        Number of levels; None for the format's default.
    chunk_shape
        Voxels (z, y, x) of a chunk; None for the format's default.
    shard_bytes
        About how many bytes of voxels a file of chunks holds; 0 for a file for each chunk, None for the format's
        default.
    codec, compression
        How chunks are compressed, one of the format's ``codecs``, and how much: 0 (none) to 9. None for the format's
        defaults.
    writer
        Who writes files of chunks, ``tensorstore`` or ``direct`` (precomputed without a codec); None for tensorstore.
    version
        Version of the format, if it has several.
    affine_lps_mm
        float64 (4, 4): from voxel (x, y, z, 1) to mm in the patient (LPS). NIfTI holds the whole matrix, other formats
        the place of the first voxel along the volume's axes.
    origin_um
        That place alone: centre (z, y, x) of the first voxel, um. OME-Zarr states it for each level, TIFF for the
        planes, NIfTI as a matrix. Precomputed has whole voxels, so ``gpustitch.json`` states it too.
    sidecar
        Written as JSON at the end, with what it holds then: ``gpustitch.json`` in the folder, ``<name>.json`` beside a
        file.
    overwrite
        Replace ``path`` if it exists (when the new volume is complete).
    n_writers, in_flight_bytes
        Number of threads that write; bound on the voxels handed over and not yet written.
    flush
        Wait at the end until everything is on the disk.
    write_empty
        Write chunks of zeros too. Otherwise they have no file, which is an error to some readers.
    journal
        Where each finished file is noted; what an earlier run has noted there is kept. Only formats of chunks keep one.
    samples
        3 for colors, uint8: red, green and blue of a voxel follow one another along x, and the last number of ``shape``
        is three times that of voxels.
    n_volumes, volume_step_s
        Volumes in the file, one after another along z: the first number of ``shape`` is that of the planes of all. Time
        from one to the next, None if that is not known.
    channel
        Name of the channel, such as ``Ex_488_Em_525``, for formats that hold one: OME-Zarr. None for the volume's name.

    Raises
    ------
    ParameterError
        If a parameter is out of range or the format lacks it.
    OutputExistsError, OutputError
        If ``path`` exists or cannot be created.
    """
    chosen = format_for(path, format)
    given = {"levels": levels, "chunk_shape": chunk_shape, "shard_bytes": shard_bytes, "version": version}
    check_takes(
        chosen,
        {
            **given, "codec": codec, "writer": writer, "compression": compression, "flush": flush,
            "write_empty": write_empty, "samples": samples, "n_volumes": n_volumes,
        },
    )  # fmt: skip
    writing = Writing(
        downsample=downsample,
        levels=chosen.default_levels if levels is None else levels,
        chunk_shape=chosen.default_chunk if chunk_shape is None else triple(chunk_shape, "chunk_shape"),
        shard_bytes=shard_bytes,
        codec=codec,
        writer=writer,
        version=version,
        compression=compression,
        affine_lps_mm=affine_lps_mm,
        origin_um=checked_origin(origin_um, affine_lps_mm),
        sidecar=sidecar,
        overwrite=overwrite,
        n_writers=n_writers,
        in_flight_bytes=in_flight_bytes,
        flush=flush,
        write_empty=write_empty,
        journal=journal,
        samples=samples,
        n_volumes=n_volumes,
        volume_step_s=volume_step_s,
        channel=channel,
    )
    _log.debug("%s will be %s: %s, %s", path, chosen.title, tuple(shape), np.dtype(dtype))
    return chosen.open(Path(path), triple(shape, "shape"), np.dtype(dtype), spacing, writing)


def checked_origin(origin_um: Sequence[float] | None, affine_lps_mm: Floats | None = None) -> Origin | None:
    """Three finite numbers, or None; ParameterError for others, and beside a matrix that says the same."""
    if origin_um is None:
        return None
    if affine_lps_mm is not None:
        raise ParameterError("`affine_lps_mm` says where the first voxel is; leave out `origin_um`, or the matrix")
    try:
        z, y, x = (float(value) for value in origin_um)
    except (TypeError, ValueError):
        raise ParameterError(f"`origin_um` must be three numbers (z, y, x), not {origin_um!r:.60}") from None
    if not all(abs(value) < _FARTHEST_UM for value in (z, y, x)):
        raise ParameterError(f"`origin_um` must be three finite numbers (z, y, x), not {(z, y, x)}")
    return z, y, x
