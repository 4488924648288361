"""Planes of a volume in a NIfTI file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError
from gpustitch.io.planes.adapters import check_range, checked_stack
from gpustitch.io.planes.format import FileStack, PlaneFormat, Planes
from gpustitch.io.units import spacing_of
from gpustitch.io.write.format import origin_along_axes_um
from gpustitch.io.write.nifti import needed_nibabel
from gpustitch.model import Spacing
from gpustitch.model.arrays import Floats

_UM = {1: 1e6, 2: 1e3, 3: 1.0}  # codes of m, mm, um; the bits above are the unit of time
_LENGTH = 7
_ALIKE = 0.01  # both sizes are float32, and people round one of them
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class NiftiPlanes:
    """Planes of constant z of one volume (:class:`gpustitch.io.planes.format.Planes`), scaled as the file says.

    Parameters
    ----------
    file
        The file.
    volume
        Which one of several volumes in time, from 0; None where there is one.

    Attributes
    ----------
    origin_um
        Place of the first voxel along the volume's axes z, y and x, um (LPS); None where the file does not state it.
    affine_lps_mm
        float64 (4, 4): from voxel (x, y, z, 1) to mm (LPS); None where the file does not state it.
    doubt
        Why there is no spacing though the file states sizes, for messages; else empty.

    Raises
    ------
    MissingExtraError
        If nibabel is not installed.
    DamagedInputError
        If the file is no NIfTI, or holds no numbers, or several volumes of which none is chosen.
    """

    depth = 1
    absent: frozenset[int] = frozenset()

    def __init__(self, file: Path, volume: int | None = None) -> None:
        self.name = str(file)
        nibabel = needed_nibabel()
        try:
            image = nibabel.load(file)
            header = image.header
            if not isinstance(header, nibabel.Nifti1Header):
                raise ValueError(f"it is a {type(image).__name__}")
            self._voxels: Any = image.dataobj
            shape = _shape_of(file, image, volume)
            self._n_axes, self._rest = len(shape), (volume or 0, *[0] * len(shape[4:]))[: len(shape[3:])]
            stored = header.get_data_dtype()
            is_scaled = stored.kind in "uif" and (self._voxels.slope, self._voxels.inter) != (1, 0)
            self.dtype = np.dtype(np.float64) if is_scaled else stored.newbyteorder("=")
            # A file of one plane may have two axes.
            self.shape = checked_stack(self.name, (*shape[:3], 1)[2::-1], self.dtype)
            self.spacing, self.doubt, matrix_um = _stated(image)
            self.origin_um = self.affine_lps_mm = None
            if matrix_um is not None:
                self.affine_lps_mm = np.diag([1e-3] * 3 + [1.0]) @ _RAS_TO_LPS @ matrix_um
                self.origin_um = origin_along_axes_um(self.affine_lps_mm)
        except (ValueError, KeyError, OSError, ArithmeticError, nibabel.filebasedimages.ImageFileError) as error:
            raise DamagedInputError(f"{file} is no volume in a NIfTI file: {error}") from error

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Planes ``start <= z < stop``, cut to ``rows`` and ``columns``, as a new array."""
        check_range(self.name, self.shape[0], start, stop)
        try:
            wanted = (columns, rows, slice(start, stop), *self._rest)
            found = np.asarray(self._voxels[wanted[: self._n_axes]])
            if self._n_axes == 2:
                found = found[:, :, np.newaxis][:, :, start:stop]
        except (ValueError, OSError, EOFError) as error:
            raise DamagedInputError(f"{self.name}: planes {start} to {stop - 1} cannot be read: {error}") from error
        return np.array(found.transpose(2, 1, 0), self.dtype, order="C")


def _shape_of(file: Path, image: Any, volume: int | None) -> tuple[int, ...]:
    """Voxels (x, y, z, ...) that a file holds; ValueError if they are not one volume, or not all there."""
    shape = tuple(int(n) for n in image.dataobj.shape)
    if any(n < 1 for n in shape):
        raise ValueError(f"it counts {shape} voxels (x, y, z, ...)")
    if any(n != 1 for n in shape[3 if volume is None else 4 :]):
        raise ValueError(
            f"it holds {shape} voxels (x, y, z, ...), and one volume was expected; write the one to take alone"
        )
    due = int(image.dataobj.offset) + math.prod(shape) * image.header.get_data_dtype().itemsize
    if file.suffix.lower() != ".gz" and file.stat().st_size < due:
        raise ValueError(f"it has {file.stat().st_size} of {due} bytes")
    return shape


def _stated(image: Any) -> tuple[Spacing | None, str, Floats | None]:
    """The voxel size of a file, why it is in doubt, and its matrix from voxels (x, y, z, 1) to um (RAS).

    nibabel mends sizes of 0 to 1 when it opens a file, which would then pass for a statement.
    """
    with image.file_map["header" if "header" in image.file_map else "image"].get_prepare_fileobj("rb") as file:
        header = type(image.header).from_fileobj(file, check=False)
    um = _UM.get(int(header["xyzt_units"]) & _LENGTH)
    if um is None:
        return None, "", None
    edges = [abs(float(size)) * um for size in header["pixdim"][1:4]]
    if not int(header["sform_code"]) and not int(header["qform_code"]):
        return spacing_of(*edges[::-1]), "", None
    matrix = np.diag([um] * 3 + [1.0]) @ np.asarray(image.header.get_best_affine(), np.float64)
    sizes = [float(size) for size in np.linalg.norm(matrix[:3, :3], axis=0)]
    if not np.isfinite(matrix).all() or min(sizes) <= 0 or abs(np.linalg.det(matrix[:3, :3])) < 1e-6 * math.prod(sizes):
        which = "sform" if int(header["sform_code"]) else "qform"
        raise ValueError(f"its matrix ({which}) gives voxels no place; correct it, or set {which}_code to 0")
    pairs = [(edge, size) for edge, size in zip(edges, sizes, strict=True) if math.isfinite(edge) and edge > 0]
    if all(abs(edge - size) <= _ALIKE * size for edge, size in pairs):
        return spacing_of(*sizes[::-1]), "", matrix
    said = " and ".join(" x ".join(f"{size:.6g}" for size in stated) for stated in (edges, sizes))
    return None, f"states two voxel sizes (x, y, z), {said} um (by pixdim, by its matrix)", matrix


class NiftiFormat(PlaneFormat):
    """A volume in a NIfTI file, or one of several in time; plain or compressed."""

    name = "NIfTI"
    suffixes = (".nii", ".nii.gz")

    def open(self, file: Path) -> Planes:
        """The planes in a file."""
        return NiftiPlanes(file)

    def stacks(self, file: Path) -> tuple[FileStack, ...]:
        """The volumes in time that a file holds, where there are several."""
        try:
            shape = tuple(int(n) for n in needed_nibabel().load(file).shape)
        except Exception:  # opening the file tells what is wrong with it
            return ()
        n_times = shape[3] if len(shape) > 3 and not any(n != 1 for n in shape[4:]) else 1
        if n_times < 2:
            return ()
        return tuple(FileStack(f"volume {k}", {"time": str(k)}, f"{shape[2]} planes") for k in range(1, n_times + 1))

    def open_stack(self, file: Path, number: int) -> Planes:
        """The planes of one of the volumes in time."""
        return NiftiPlanes(file, number)
