"""Planes of a volume in a NIfTI file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError
from gpustitch.io.planes.adapters import check_range, checked_stack
from gpustitch.io.planes.format import PlaneFormat, Planes
from gpustitch.io.units import spacing_of
from gpustitch.io.write.format import origin_along_axes_um
from gpustitch.io.write.nifti import needed_nibabel

_UM = {"meter": 1e6, "mm": 1e3, "micron": 1.0}
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class NiftiPlanes:
    """Planes of constant z of one volume (:class:`gpustitch.io.planes.format.Planes`), scaled as the file says.

    Attributes
    ----------
    origin_um
        Place of the first voxel along the volume's axes z, y and x, um (LPS); None where the file does not state it.
    affine_lps_mm
        float64 (4, 4): from voxel (x, y, z, 1) to mm (LPS); None where the file does not state it.

    Raises
    ------
    MissingExtraError
        If nibabel is not installed.
    DamagedInputError
        If the file is no NIfTI, or holds several volumes or no numbers.
    """

    depth = 1
    absent: frozenset[int] = frozenset()

    def __init__(self, file: Path) -> None:
        self.name = str(file)
        nibabel = needed_nibabel()
        try:
            image = nibabel.load(file)
            header = image.header
            if not isinstance(header, nibabel.Nifti1Header):
                raise ValueError(f"it is a {type(image).__name__}")
            self._voxels: Any = image.dataobj
            shape = tuple(int(n) for n in self._voxels.shape)
            if any(n != 1 for n in shape[3:]):
                raise ValueError(f"it holds {shape} voxels (x, y, z, ...), and one volume was expected")
            due = int(self._voxels.offset) + math.prod(shape) * header.get_data_dtype().itemsize
            if file.suffix.lower() != ".gz" and file.stat().st_size < due:
                raise ValueError(f"it has {file.stat().st_size} of {due} bytes")
            self._rest = (0,) * len(shape[3:])
            stored = header.get_data_dtype()
            is_scaled = stored.kind in "uif" and (self._voxels.slope, self._voxels.inter) != (1, 0)
            self.dtype = np.dtype(np.float64) if is_scaled else stored.newbyteorder("=")
            # A file of one plane may have two axes.
            self.shape = checked_stack(self.name, (*shape[:3], 1)[2::-1], self.dtype)
            um = _UM.get(header.get_xyzt_units()[0])
            self.spacing = None if um is None else spacing_of(*(float(v) * um for v in (*header.get_zooms(), 1)[2::-1]))
            self.origin_um = self.affine_lps_mm = None
            if um is not None and (int(header["sform_code"]) or int(header["qform_code"])):
                self.affine_lps_mm = np.diag([um / 1000] * 3 + [1.0]) @ _RAS_TO_LPS @ header.get_best_affine()
                self.origin_um = origin_along_axes_um(self.affine_lps_mm)
        except (ValueError, KeyError, OSError, ArithmeticError, nibabel.filebasedimages.ImageFileError) as error:
            raise DamagedInputError(f"{file} is no volume in a NIfTI file: {error}") from error

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Planes ``start <= z < stop``, cut to ``rows`` and ``columns``, as a new array."""
        check_range(self.name, self.shape[0], start, stop)
        try:
            found = np.asarray(self._voxels[(columns, rows, slice(start, stop), *self._rest)])
        except (ValueError, OSError, EOFError) as error:
            raise DamagedInputError(f"{self.name}: planes {start} to {stop - 1} cannot be read: {error}") from error
        return np.array(found.transpose(2, 1, 0), self.dtype, order="C")


class NiftiFormat(PlaneFormat):
    """One volume in a NIfTI file, plain or compressed."""

    name = "NIfTI"
    suffixes = (".nii", ".nii.gz")

    def open(self, file: Path) -> Planes:
        """The planes in a file."""
        return NiftiPlanes(file)
