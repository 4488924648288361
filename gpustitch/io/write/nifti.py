"""Writing a volume into one NIfTI file, some planes at a time, with its place in the patient."""

from __future__ import annotations

import functools
import importlib
import io
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import MissingExtraError, ParameterError
from gpustitch.io.images.files import check_compression
from gpustitch.io.volumes.sidecar import Origin
from gpustitch.io.write.format import OutputFormat, VolumeOutput, Writing
from gpustitch.io.write.in_flight import checked_writers
from gpustitch.io.write.slab_writer import SlabWriter, check_samples
from gpustitch.model import ZYX, Spacing
from gpustitch.model.arrays import Floats

DEFAULT_COMPRESSION = 1
_TYPES = ("uint8", "uint16", "int16", "uint32", "float32", "float64")
_RGB = np.dtype([(name, np.uint8) for name in "RGB"])
_MOST_OF_NIFTI_1 = 32767  # longest axis: NIfTI-1 stores lengths in 16 bits
_PIECE_BYTES = 1 << 20  # compressed apart from other pieces, which costs some bytes for each piece
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SCANNER, _ALIGNED = 1, 2  # codes for coordinates of the scanner, and for those of another file
# A matrix whose axes deviate more from right angles than this is sheared: only the sform can hold the matrix.
_UPRIGHT = 1e-4
# Header of a gzip file without name and time. Then an empty last block, the end of a stream of whole bytes.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_DEFLATE_END = b"\x03\x00"


class NiftiVolumeWriter(SlabWriter):
    """Writes one NIfTI file, plain or compressed, from slabs of whole planes given in order.

    A context manager. The file is ``.<name>.partial`` until the ``with`` block ends without an error.
    While the caller computes the next slab, ``n_writers`` threads compress (``*.gz``), or one thread writes. The file
    is NIfTI-1, or NIfTI-2 if an axis is longer than 32767.

    Parameters
    ----------
    path
        The file; compressed if its name ends in ``.gz``.
    shape, dtype, spacing
        The volume: (z, y, x); uint8, uint16, int16, uint32, float32 or float64.
    writing
        How it is written. The file stores ``affine_lps_mm`` as sform and qform (RAS). A qform cannot hold axes that are
        not at right angles: then the sform alone holds the matrix. With ``origin_um`` alone the axes x, y and z are
        taken for left, posterior and superior, and the codes are 2: aligned with other files, not with a patient.
        Without both, both codes are 0, and the file states the voxel size alone. ``compression`` is a level 1 to 9 of a
        compressed file, 1 by default; 0 for a plain file.

    Raises
    ------
    ParameterError
        If a parameter is out of range.
    MissingExtraError
        If nibabel is not installed.
    OutputExistsError, OutputError
        If the file exists or cannot be created.
    """

    _threads = "gpustitch-nifti"

    def __init__(
        self,
        path: str | Path,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        spacing: Spacing,
        writing: Writing,
    ) -> None:
        super().__init__(path, shape, dtype, spacing, writing)
        self._level = _checked_level(self.path, writing.compression)
        if self.dtype.name not in _TYPES:
            raise ParameterError(f"`dtype` of a NIfTI volume is one of {', '.join(_TYPES)}, not {self.dtype}")
        n_threads = min(checked_writers(writing.n_writers), writing.n_writers if self._level else 1)
        samples, n_volumes = writing.samples, writing.n_volumes
        planes, rows, columns = self.shape
        check_samples(samples, columns, self.dtype)
        if n_volumes < 1 or planes % n_volumes:
            raise ParameterError(f"`n_volumes` is {n_volumes}, but {planes} planes are not so many volumes of one size")
        lengths = (planes // n_volumes, rows, columns // samples)
        kind = _RGB if samples > 1 else self.dtype
        affine_lps_mm, code = writing.affine_lps_mm, _SCANNER
        if affine_lps_mm is None and writing.place_um is not None:
            affine_lps_mm, code = _upright(spacing, writing.place_um), _ALIGNED
        head = nifti_header(lengths, kind, spacing, affine_lps_mm, n_volumes, writing.volume_step_s, code)
        self._check, self._size = 0, 0  # CRC-32 and length of the plain bytes, which end a gzip file
        self._start(n_threads, head)

    def _hand_over(self, voxels: npt.NDArray[Any], release: Callable[[], None] | None) -> None:
        """Queue the bytes, cut into pieces if the file is compressed."""
        data = np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
        self._in_flight.enter(len(data))
        step = _PIECE_BYTES if self._level else len(data)
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            self._pieces.put(
                [functools.partial(self._packed, piece)], len(piece), release if start + step >= len(data) else None
            )
            if self._level:
                self._check = zlib.crc32(piece, self._check)
                self._size += len(piece)

    def _packed(self, piece: memoryview) -> bytes | memoryview:
        """A piece of a Deflate stream; the piece ends with a whole byte, so that the next can follow."""
        if not self._level:
            return piece
        packer = zlib.compressobj(self._level, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)

    def _write_file(self) -> None:
        """Write the pieces; in a compressed file, between the head and the end of a gzip file."""
        with self._file.open("wb", buffering=0) as file:
            if self._level:
                self._put(file, _GZIP_HEADER)
            for piece in self._pieces.taken():
                self._put(file, piece)
            if self._level:
                tail = self._check.to_bytes(4, "little") + (self._size % (1 << 32)).to_bytes(4, "little")
                self._put(file, _DEFLATE_END + tail)

    def _put(self, file: io.FileIO, data: bytes | memoryview) -> None:
        left = memoryview(data)
        while len(left):
            left = left[file.write(left) :]


def _checked_level(path: Path, compression: int | None) -> int:
    """Level of compression, 0 for a plain file; ParameterError if out of range or contradicting the name."""
    is_packed = path.name.lower().endswith(".gz")
    level = (DEFAULT_COMPRESSION if is_packed else 0) if compression is None else compression
    check_compression(level)
    if is_packed != (level > 0):
        raise ParameterError(
            f"{path}: `compression` of NIfTI is 1 to 9 if the name ends in .nii.gz, and 0 otherwise, not {level}"
        )
    return level


def nifti_header(
    shape: tuple[int, int, int],
    dtype: npt.DTypeLike,
    spacing: Spacing,
    affine_lps_mm: Floats | None,
    n_volumes: int = 1,
    volume_step_s: float | None = None,
    code: int = _SCANNER,
) -> bytes:
    """Everything before the first voxel of a little-endian NIfTI file; see :class:`NiftiVolumeWriter`.

    ``shape`` (z, y, x) is that of one volume. A step that is not known is 0, and then the file has no unit of time.
    ``code`` says what the matrix leads to.

    Raises
    ------
    MissingExtraError
        If nibabel is not installed.
    """
    nibabel = needed_nibabel()
    is_large = max(*shape, n_volumes) > _MOST_OF_NIFTI_1
    header = (nibabel.Nifti2Header if is_large else nibabel.Nifti1Header)(endianness="<")
    step = [] if n_volumes == 1 else [volume_step_s or 0.0]
    header.set_data_shape((*shape[::-1], *([n_volumes] if step else [])))
    header.set_data_dtype(np.dtype(dtype))
    header.set_xyzt_units("mm", "sec" if any(step) else None)
    header.set_zooms([*(v / 1000 for v in reversed(spacing.zyx_um)), *step])
    header["descrip"] = b"gpustitch"
    if affine_lps_mm is not None:
        ras = _LPS_TO_RAS @ np.asarray(affine_lps_mm, np.float64)
        lengths = np.linalg.norm(ras[:3, :3], axis=0)
        axes = ras[:3, :3] / lengths
        header.set_zooms([*lengths, *step])
        if np.abs(axes.T @ axes - np.eye(3)).max() <= _UPRIGHT:
            header.set_qform(ras, code)
        header.set_sform(ras, code)
    block: bytes = header.binaryblock
    header["vox_offset"] = math.ceil((len(block) + 4) / 16) * 16
    return bytes(header.binaryblock).ljust(int(header["vox_offset"]), b"\0")


def _upright(spacing: Spacing, origin_um: Origin) -> Floats:
    """The matrix (x, y, z) in mm of a volume along the axes of its coordinates."""
    matrix = np.diag([*(v / 1000 for v in reversed(spacing.zyx_um)), 1.0])
    matrix[:3, 3] = [v / 1000 for v in reversed(origin_um)]
    return matrix


def needed_nibabel() -> Any:
    """nibabel; MissingExtraError if it is not installed."""
    try:
        return importlib.import_module("nibabel")
    except ImportError as error:
        raise MissingExtraError("NIfTI needs nibabel: pip install 'gpustitch[nifti]'") from error


class NiftiOutput(OutputFormat):
    """One NIfTI file, plain or compressed."""

    name, title = "nifti", "NIfTI"
    suffixes = (".nii", ".nii.gz")
    takes = frozenset({"compression", "affine_lps_mm", "samples", "n_volumes"})
    default_compression = f"{DEFAULT_COMPRESSION} for *.nii.gz"
    types = _TYPES
    in_order = True

    def holds(self, dtype: np.dtype[Any], codec: str | None) -> frozenset[str]:
        """Voxel size, place and directions."""
        return frozenset({"spacing", "origin_um", "affine_lps_mm"})

    def open(self, path: Path, shape: ZYX, dtype: np.dtype[Any], spacing: Spacing, writing: Writing) -> VolumeOutput:
        """A writer of a volume."""
        return NiftiVolumeWriter(path, shape, dtype, spacing, writing)
