"""One way to write a volume block by block, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.images.files import TIFF_SUFFIXES
from gpustitch.io.write.nifti import NiftiVolumeWriter, is_nifti_name
from gpustitch.io.write.ome_zarr import DEFAULT_COMPRESSION, VERSIONS, OmeZarrWriter
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.io.write.pyramid_layout import DEFAULT_CHUNK
from gpustitch.io.write.pyramid_writer import IN_FLIGHT_BYTES, N_WRITERS, Downsample
from gpustitch.io.write.tiff import TiffVolumeWriter
from gpustitch.model import ZYX, Box, Spacing

FORMATS = ("precomputed", "ome-zarr", "tiff", "nifti")
# Those that are one file, written from the first plane to the last.
IN_ORDER = ("tiff", "nifti")
DEFAULT_LEVELS = 5


class VolumeOutput(Protocol):
    """What takes a volume block by block; it has its name when the ``with`` block ends without an error.

    ``write`` takes one of :meth:`blocks` at a time (or a box of several) and returns before it is on the disk. A
    precomputed or OME-Zarr volume takes them in any order and from several threads; :meth:`blocks` has the order that
    needs least memory. TIFF and NIfTI take slabs of whole planes in order of z, of any thickness.
    """

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x) of the volume."""

    @property
    def block_shape(self) -> ZYX:
        """Shape of a block; those at the end of an axis are smaller."""

    def blocks(self) -> Iterator[Box]:
        """All blocks, in an order in which they may be written."""

    def write(self, box: Box, voxels: npt.NDArray[Any], release: Callable[[], None] | None = None) -> None:
        """Hand over voxels, which stay unchanged until ``release`` is called; OutputError if a write failed."""

    def skip(self, box: Box) -> None:
        """Say that a box holds only zeros."""

    def close(self) -> None:
        """Wait for all writes and give the volume its name; what was never given is zero."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def format_of(path: str | Path) -> str:
    """The format that a name asks for.

    ``*.zarr`` OME-Zarr, ``*.tif`` and ``*.tiff`` TIFF, ``*.nii`` and ``*.nii.gz`` NIfTI, all others precomputed.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".zarr":
        return "ome-zarr"
    if is_nifti_name(path):
        return "nifti"
    return "tiff" if suffix in TIFF_SUFFIXES else "precomputed"


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
    shard_shape: Sequence[int] | None = None,
    version: str | None = None,
    compression: int | None = None,
    affine_lps_mm: npt.NDArray[np.float64] | None = None,
    sidecar: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    n_writers: int = N_WRITERS,
    in_flight_bytes: int = IN_FLIGHT_BYTES,
) -> VolumeOutput:
    """A writer of a volume in the format that its name, or ``format``, asks for.

    Parameters
    ----------
    path
        File or folder to create.
    shape, dtype, spacing
        The volume at full resolution (z, y, x). All formats hold uint8, uint16, int16, uint32 and float32.
    downsample
        Halves a block on every axis: :func:`gpustitch.ops.pyramid.downsample`. Not used for TIFF and NIfTI.
    format
        ``precomputed``, ``ome-zarr``, ``tiff`` or ``nifti``; None for that of the name (:func:`format_of`).
    levels
        Number of levels; None for 5, or the 1 that a TIFF or NIfTI has.
    chunk_shape
        Voxels (z, y, x) of a chunk, (64, 64, 64) by default; TIFF and NIfTI have none.
    shard_shape, version
        Of OME-Zarr only: voxels of a file of several chunks; ``0.5`` (default) or ``0.4``.
    compression
        0 for none to 9; by default 1 for OME-Zarr (zstd) and ``*.nii.gz``, 0 for TIFF (zlib). A precomputed volume has
        none.
    affine_lps_mm
        float64 (4, 4): from voxel (x, y, z, 1) to mm in the patient (LPS). NIfTI holds all of it, OME-Zarr the place
        of the first voxel along the volume's axes (:func:`origin_along_axes_um`); the others hold none of it.
    sidecar
        Written as JSON: ``gpustitch.json`` in the folder, ``<name>.json`` beside a TIFF or NIfTI file.
    overwrite
        Replace ``path`` if it exists (when the new volume is complete).
    n_writers, in_flight_bytes
        Number of threads that write; bound on the voxels handed over and not yet written.

    Raises
    ------
    ParameterError
        If a parameter is out of range or the format has no such thing.
    OutputExistsError, OutputError
        If ``path`` exists or cannot be created.
    """
    kind = format_of(path) if format is None else format
    if kind not in FORMATS:
        raise ParameterError(f"the format of a volume is one of {', '.join(FORMATS)}, not {kind}")
    _check_options(kind, levels, chunk_shape, shard_shape, version, compression)
    shared: dict[str, Any] = {
        "sidecar": sidecar,
        "overwrite": overwrite,
        "n_writers": n_writers,
        "in_flight_bytes": in_flight_bytes,
    }
    if kind == "tiff":
        return TiffVolumeWriter(path, shape, dtype, spacing, compression=compression or 0, **shared)
    if kind == "nifti":
        return NiftiVolumeWriter(
            path, shape, dtype, spacing, compression=compression, affine_lps_mm=affine_lps_mm, **shared
        )
    shared |= {
        "downsample": downsample,
        "levels": DEFAULT_LEVELS if levels is None else levels,
        "chunk_shape": DEFAULT_CHUNK if chunk_shape is None else chunk_shape,
    }
    if kind == "precomputed":
        return PrecomputedWriter(path, shape, dtype, spacing, **shared)
    return OmeZarrWriter(
        path,
        shape,
        dtype,
        spacing,
        shard_shape=shard_shape,
        version=version or VERSIONS[0],
        compression=DEFAULT_COMPRESSION if compression is None else compression,
        origin_um=None if affine_lps_mm is None else origin_along_axes_um(affine_lps_mm),
        **shared,
    )


def origin_along_axes_um(affine_lps_mm: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """How far (z, y, x) the first voxel is from the patient's origin along the rows, columns and normal of the planes.

    For axial planes these are the patient's own axes; volumes of other orientations agree with those of the same one.
    """
    x, y = (affine_lps_mm[:3, i] / np.linalg.norm(affine_lps_mm[:3, i]) for i in (0, 1))
    normal = np.cross(x, y)
    along_z, along_y, along_x = (float(axis @ affine_lps_mm[:3, 3]) * 1000 for axis in (normal, y, x))
    return along_z, along_y, along_x


def _check_options(
    kind: str,
    levels: int | None,
    chunk_shape: Sequence[int] | None,
    shard_shape: Sequence[int] | None,
    version: str | None,
    compression: int | None,
) -> None:
    """Raise ParameterError for what a format has not, rather than leave it out in silence."""
    if kind in IN_ORDER and (levels not in (None, 1) or chunk_shape is not None):
        name = {"tiff": "TIFF", "nifti": "NIfTI"}[kind]
        raise ParameterError(f"a {name} volume has one level and no chunks; choose another format or leave them out")
    if kind != "ome-zarr" and (shard_shape is not None or version is not None):
        raise ParameterError(f"shards and versions are those of OME-Zarr; a {kind} volume has none")
    if kind == "precomputed" and compression:
        raise ParameterError("precomputed volumes are written without compression; choose OME-Zarr or leave it out")
