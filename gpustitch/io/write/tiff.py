"""Writing a volume into one TIFF, some planes at a time, with the voxel size where readers expect it."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from gpustitch.errors import ParameterError
from gpustitch.io.images.files import IMAGEJ_TYPES, TIFF_SUFFIXES, check_compression
from gpustitch.io.write.format import OutputFormat, VolumeOutput, Writing
from gpustitch.io.write.in_flight import checked_writers
from gpustitch.io.write.slab_writer import SlabWriter, check_samples
from gpustitch.model import ZYX, Spacing

_OME_TYPES = (*IMAGEJ_TYPES, "int16", "uint32", "float64")
_STRIP_BYTES = 1 << 18  # of a compressed plane: a reader of few rows then decodes little more than these rows
_CLASSIC_BYTES = (1 << 32) - (1 << 26)  # offsets of a classic TIFF have 32 bits; the directories take some bytes


class TiffVolumeWriter(SlabWriter):
    """Writes one TIFF, a page for each plane, from slabs of whole planes given in order.

    A context manager. The file is ``.<name>.partial`` until the ``with`` block ends without an error. While the caller
    computes the next slab, ``n_writers`` threads compress and one more writes. A file with its name is on the disk,
    whole even after a power cut.

    Parameters
    ----------
    path
        The file. It has ImageJ's metadata if ImageJ can open it: its types, and less than 4 GiB. Files that may grow
        beyond that are BigTIFF. These, other types, and names that end in ``.ome.tif`` or ``.ome.tiff`` have OME
        metadata.
    shape, dtype, spacing
        The volume: (z, y, x); uint8, uint16, float32, int16, uint32 or float64.
    writing
        How it is written. ``compression`` is a level of zlib's Deflate, 1 to 9, 0 (the default) for none. OME metadata
        state the place for each plane, ImageJ's as an origin in voxels.

    Raises
    ------
    ParameterError
        If a parameter is out of range.
    OutputExistsError, OutputError
        If the file exists or cannot be created.
    """

    _threads = "gpustitch-tiff"

    def __init__(
        self,
        path: str | Path,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        spacing: Spacing,
        writing: Writing,
    ) -> None:
        super().__init__(path, shape, dtype, spacing, writing)
        check_samples(writing.samples, self.shape[2], self.dtype)
        self._samples, self._origin_um = writing.samples, writing.place_um
        self.big = math.prod(self.shape) * self.dtype.itemsize > _CLASSIC_BYTES
        self.metadata = self._kind_of_metadata()
        self._compression = writing.compression or 0
        check_compression(self._compression)
        self._rows = max(1, min(self.shape[1], _STRIP_BYTES * self.shape[1] // max(1, self._plane_bytes)))
        self._start(checked_writers(writing.n_writers))

    def _kind_of_metadata(self) -> str:
        """``imagej`` if ImageJ itself can open the file; it opens BigTIFF only through Bio-Formats, which reads OME."""
        if self.dtype.name not in _OME_TYPES:
            raise ParameterError(f"`dtype` of a TIFF is one of {', '.join(_OME_TYPES)}, not {self.dtype}")
        named_ome = self.path.name.lower().endswith((".ome.tif", ".ome.tiff"))
        return "ome" if named_ome or self.big or self.dtype.name not in IMAGEJ_TYPES else "imagej"

    def _hand_over(self, voxels: npt.NDArray[Any], release: Callable[[], None] | None) -> None:
        """Queue the strips of the planes."""
        self._in_flight.enter(voxels.nbytes)
        rows = self._rows if self._compression else self.shape[1]
        starts = range(0, self.shape[1], rows)
        for number, plane in enumerate(voxels, 1):
            strips = (functools.partial(self._encoded, plane[row : row + rows]) for row in starts)
            self._pieces.put(strips, self._plane_bytes, release if number == len(voxels) else None)

    def _encoded(self, strip: npt.NDArray[Any]) -> bytes:
        data = strip.astype(strip.dtype.newbyteorder("<"), copy=False).tobytes()
        return data if self._compression == 0 else bytes(imagecodecs.deflate_encode(data, self._compression))

    def _positions(self) -> dict[str, Any]:
        """Where planes are, for the description; nothing of a volume whose place is not known."""
        if self._origin_um is None:
            return {}
        if self.metadata == "imagej":  # ImageJ's origin is the voxel that lies at 0
            places = zip("zyx", self._origin_um, self.spacing.zyx_um, strict=True)
            return {f"{axis}origin": repr(-at / step) for axis, at, step in places}
        n, (z, y, x) = self.shape[0], self._origin_um
        at = {"X": [x] * n, "Y": [y] * n, "Z": [z + k * self.spacing.z_um for k in range(n)]}
        units = {f"Position{axis}Unit": ["µm"] * n for axis in at}
        return {"Plane": {f"Position{axis}": place for axis, place in at.items()} | units}

    def _write_file(self) -> None:
        """Write the file: tifffile takes the strips of its planes from an iterator."""
        kind: dict[str, Any] = {"imagej": self.metadata == "imagej", "ome": self.metadata == "ome"}
        # ImageJ takes the unit from its description; other programs need a unit that TIFF knows.
        unit, unit_um = ("none", 1.0) if self.metadata == "imagej" else ("centimeter", 1e4)
        # In an image of one column tifffile would take rows for columns; a last axis of one sample prevents that.
        planes, rows, columns = self.shape
        has_samples = self.metadata == "imagej" or self._samples > 1
        shape = (planes, rows, columns // self._samples, *([self._samples] if has_samples else []))
        options: dict[str, Any] = (
            {"compression": "adobe_deflate", "rowsperstrip": self._rows} if self._compression else {}
        )
        with tifffile.TiffWriter(self._file, bigtiff=self.big, byteorder="<", **kind) as tiff:
            strips = self._pieces.taken()
            tiff.write(
                itertools.chain(strips),  # a chain: a generator would be closed once tifffile has enough
                shape=shape,
                dtype=self.dtype.newbyteorder("<"),
                photometric="minisblack" if self._samples == 1 else "rgb",
                resolution=(unit_um / self.spacing.x_um, unit_um / self.spacing.y_um),
                resolutionunit=unit,
                metadata=tiff_metadata(self.spacing, self.metadata, self._samples) | self._positions(),
                **options,
            )
            # tifffile stops at the last strip; one more step releases that strip and counts it as written.
            next(strips, None)


def tiff_metadata(spacing: Spacing, kind: str, samples: int = 1) -> dict[str, Any]:
    """The metadata of a volume (z, y, x) for tifffile's description, of kind ``imagej`` or ``ome``."""
    if kind == "imagej":
        return {"axes": "ZYXS", "spacing": spacing.z_um, "unit": "um"}
    sizes = zip("ZYX", spacing.zyx_um, strict=True)
    lengths = {f"PhysicalSize{axis}": size for axis, size in sizes}
    return {"axes": "ZYX" if samples == 1 else "ZYXS", **lengths, **{f"{name}Unit": "µm" for name in lengths}}


class TiffOutput(OutputFormat):
    """One TIFF of a page for each plane."""

    name, title = "tiff", "TIFF"
    suffixes = (*TIFF_SUFFIXES, *(f".ome{suffix}" for suffix in TIFF_SUFFIXES))
    takes = frozenset({"compression", "samples"})
    types = _OME_TYPES
    default_compression = "0"
    in_order = True
    is_image = True

    def holds(self, dtype: np.dtype[Any], codec: str | None) -> frozenset[str]:
        """Voxel size and place."""
        return frozenset({"spacing", "origin_um"})

    def open(self, path: Path, shape: ZYX, dtype: np.dtype[Any], spacing: Spacing, writing: Writing) -> VolumeOutput:
        """A writer of a volume."""
        return TiffVolumeWriter(path, shape, dtype, spacing, writing)
