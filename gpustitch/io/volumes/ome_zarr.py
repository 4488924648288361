"""Reading OME-Zarr images (OME-NGFF 0.4 in zarr 2, 0.5 in zarr 3, also older images and bare zarr arrays)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.units import spacing_of
from gpustitch.io.volumes.format import FULL, Access, LevelFiles, StoredVolume, VolumeFiles, VolumeFormat
from gpustitch.io.volumes.ome_choice import choices_of, chosen_place, chosen_series
from gpustitch.io.volumes.ome_metadata import METADATA, Series, check_order, read_ome_image, read_series
from gpustitch.io.volumes.presence import Index, Presence, check_presence
from gpustitch.io.volumes.record import check_levels, read_record
from gpustitch.io.volumes.replaced import Unchanged
from gpustitch.io.volumes.sidecar import SIDECAR, read_sidecar
from gpustitch.io.volumes.zarr_arrays import Selection, open_zarr_array
from gpustitch.io.volumes.zarr_files import ZarrNames
from gpustitch.model import ZYX, Box, Coverage, Spacing
from gpustitch.ops.padded import padded

_ZIPPED = (".zarr.zip", ".ozx")


class OmeZarrVolume:
    """One level of an OME-Zarr image on disk, a :class:`gpustitch.model.Volume`.

    Axes may be in any order, and their names in capitals. An image without z is one plane.

    Parameters
    ----------
    path
        Folder of the image's zarr group, of a group of images as bioformats2raw lays them out, or of a zarr array with
        the axes (..., z, y, x).
    level
        0 for full resolution.
    allow_missing
        Read the fill value, mostly 0, where files of chunks are missing.
    choice
        Which image, channel and time to read, where there are several; None if nobody can choose.

    Attributes
    ----------
    path
        Folder of the image itself.
    stated_spacing
        Voxel spacing; None unless the image states it on all three axes with a unit of length.
    spacing
        The stated spacing. Without one: the scale's numbers taken as um (their ratio is then right), or 1 um.
    origin_um
        Centre (z, y, x) of the level's first voxel, um, as its translation states it; 0 where it does not.
    chunk_shape, depth
        Voxels (z, y, x) that are stored together; their number of planes.
    levels
        Number of levels.
    axes
        Names of the stored array's axes.
    reader
        The library that reads the voxels: tensorstore, or zarr-python for codecs that tensorstore lacks.
    channel
        The label of the channel that is read, None without one.
    n_files, n_missing
        Number of files of chunks or shards that the level should have, and how many of them are missing. zarr lets
        files be absent: without a record nobody knows the lost ones from the unwritten ones, and both are counted.

    Raises
    ------
    InputMissingError, DamagedInputError
        If there is no such image, or the image cannot be opened or has lost files.
    ParameterError
        If the image has no such level, or is one of several and ``choice`` does not leave one.
    """

    def __init__(
        self, path: str | Path, level: int = 0, *, allow_missing: bool = False, choice: StackChoice | None = None
    ) -> None:
        place = Path(path)
        found = read_series(place)
        series = chosen_series(place, found, choice)
        if choice is not None and len(found) > 1:
            choice = replace(choice, stack_series=None)
        self.path = series.folder
        self.level = level
        self.image = read_ome_image(series)
        self.levels = len(self.image.paths)
        if not 0 <= level < self.levels:
            raise ParameterError(f"{self.path} has levels 0 to {self.levels - 1}; `level` is {level}")
        folder = self.path / self.image.paths[level]
        self._unchanged = Unchanged(self.path, [place / name for place in (folder, self.path) for name in METADATA])
        self._array = open_zarr_array(folder)
        self.reader = self._array.reader
        self.dtype: np.dtype[Any] = self._array.dtype
        if self.dtype.kind not in "uif":
            raise DamagedInputError(f"{self.path} holds {self.dtype} voxels; whole or real numbers were expected")
        self.axes = self.image.axes
        self._check_axes(folder)
        self._at = chosen_place(self.path, self.axes, self._array.shape, self.image.channels, choice)
        sizes = dict(zip(self.axes, self._array.shape, strict=True))
        chunks = dict(zip(self.axes, self._array.chunk_shape, strict=True))
        z, y, x = (sizes.get(axis, 1) for axis in "zyx")
        self.chunk_shape: ZYX = (chunks.get("z", 1), chunks["y"], chunks["x"])
        self.depth = self.chunk_shape[0]
        self.channel = self._labelled()
        self._presence = self._present(folder, allow_missing)
        self.n_files, self.n_missing = self._presence.n_due, self._presence.n_missing
        self.stated_spacing, self.spacing = self._spacings(self.axes)
        at_um = dict(zip(self.axes, self.image.translations[level], strict=False))
        self.origin_um = (at_um.get("z", 0.0), at_um.get("y", 0.0), at_um.get("x", 0.0))
        scan, _ = read_sidecar(self.path)
        self.coverage = Coverage(x, y, z) if scan is None or level else scan.coverage
        if self.coverage.shape != (z, y, x):
            raise DamagedInputError(
                f"{self.path / SIDECAR} describes a volume of {self.coverage.shape} voxels (z, y, x) but {self.path} "
                f"has {(z, y, x)}; remove it to use the whole box"
            )

    @property
    def channel_number(self) -> int | None:
        """Which of several channels this is, from 0; None of an image with one."""
        sizes = dict(zip(self.axes, self._array.shape, strict=True))
        return self._at["c"] if sizes.get("c", 1) > 1 else None

    def _check_axes(self, folder: Path) -> None:
        """Raise DamagedInputError unless the axes are those of the array, with y and x among them."""
        if len(self.axes) != len(self._array.shape):
            raise DamagedInputError(
                f"{self.path} names {len(self.axes)} axes but its array has {len(self._array.shape)}"
            )
        if not {"y", "x"} <= set(self.axes):
            raise DamagedInputError(f"{self.path} has the axes {', '.join(self.axes)}; z, y and x were expected")
        if 0 in self._array.shape:
            raise DamagedInputError(f"{folder} has the shape {self._array.shape}; it holds no voxels")
        check_order(folder, self.axes)

    def _labelled(self) -> str | None:
        """The label of the channel that is read; None if the image has none."""
        number, labels = self._at.get("c", 0), self.image.channels
        return labels[number] or None if number < len(labels) else None

    def _present(self, folder: Path, allow_missing: bool) -> Presence:
        """Which files of the level are there; refuses what has lost files."""
        # A level may be opened alone, as an array.
        owner, name = (
            (self.path, self.image.paths[self.level]) if not self.image.is_bare else (folder.parent, folder.name)
        )
        record = read_record(owner, is_due=self.image.has_record and not allow_missing)
        if record is not None and not self.image.is_bare:
            check_levels(record, self.image.paths)
        recorded = None if record is None else record.written.get(name)
        self._names = names = ZarrNames(folder)
        return check_presence(
            folder,
            names,
            recorded,
            is_sparse=names.is_sparse and not self.image.has_record,
            allow_missing=allow_missing,
        )

    def holds(self, box: Box) -> bool:
        """Whether any file has voxels of ``box``, which lies in the volume; True where others are not 0."""
        if not self._names.fills_zeros:
            return True
        along = dict(zip("zyx", zip(box.start, box.stop, strict=True), strict=True))
        spans = [along.get(axis, (self._at.get(axis, 0), self._at.get(axis, 0) + 1)) for axis in self.axes]
        part = [slice(a // n, -(-b // n)) for (a, b), n in zip(spans, self._names.file_shape, strict=True)]
        return bool(self._presence.kinds[tuple(part)].any())

    def _spacings(self, axes: Sequence[str]) -> tuple[Spacing | None, Spacing]:
        scale = dict(zip(axes, self.image.scales[self.level], strict=False))
        spacing = spacing_of(scale.get("z"), scale.get("y"), scale.get("x"))
        return spacing if self.image.has_units else None, spacing or Spacing(1.0, 1.0, 1.0)

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x)."""
        return self.coverage.shape

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``, shape ``box.shape``: zero outside the volume, the fill value in unwritten chunks.

        Raises
        ------
        DamagedInputError
            If a chunk cannot be read, or the image is another since it was opened.
        """
        voxels = padded(box, self.shape, self.dtype, self._inside)
        self._unchanged.check()
        return voxels

    def _inside(self, box: Box) -> npt.NDArray[Any]:
        along = dict(zip("zyx", box.slices(), strict=True))
        kept = [axis for axis in self.axes if axis in along]
        selection: Selection = tuple(along[axis] if axis in along else self._at[axis] for axis in self.axes)
        voxels = self._array.read(selection).transpose([kept.index(axis) for axis in "zyx" if axis in kept])
        return np.ascontiguousarray(voxels.reshape(box.shape))


class OmeZarrFormat(VolumeFormat):
    """OME-Zarr, and bare zarr arrays."""

    name = "OME-Zarr"
    marks = METADATA
    has_stacks = True

    def found_in(self, folder: Path) -> bool:
        """Whether a folder is a zarr group or array, or a file such a folder in a ZIP."""
        return super().found_in(folder) or _is_zipped(folder)

    def open(self, folder: Path, access: Access = FULL) -> StoredVolume:
        """A level of the volume in a folder."""
        _check_unpacked(folder)
        return OmeZarrVolume(folder, access.level, allow_missing=access.allow_missing, choice=access.choice)

    def choices(self, folder: Path) -> list[tuple[str, StackChoice]]:
        """Each image, channel and time of a group."""
        _check_unpacked(folder)
        found, several = [], read_series(folder)
        for number, series in enumerate(several, 1):
            image = read_ome_image(series)
            shape = open_zarr_array(series.folder / image.paths[0]).shape
            for name, choice in choices_of(folder, image.axes, shape, image.channels):
                if len(several) > 1:
                    name, choice = f"{series.name} {name}", replace(choice, stack_series=str(number))
                found.append((name, choice))
        return found

    def files(self, folder: Path) -> list[VolumeFiles]:
        """The files of each image in a folder."""
        _check_unpacked(folder)
        return [_volume_files(series) for series in read_series(folder)]


def _volume_files(series: Series) -> VolumeFiles:
    image, folder = read_ome_image(series), series.folder
    owner, names = (folder.parent, (folder.absolute().name,)) if image.is_bare else (folder, image.paths)
    return VolumeFiles(
        owner,
        names,
        lambda level: _level_files(folder / image.paths[level], image.has_record),
        image.has_record,
        image.is_bare,
    )


def _level_files(folder: Path, has_record: bool) -> LevelFiles:
    names, array = ZarrNames(folder), open_zarr_array(folder)

    def decode(index: Index, _: StoredVolume | None) -> None:
        corners = [i * n for i, n in zip(index, names.file_shape, strict=True)]
        ends = [min(c + n, size) for c, n, size in zip(corners, names.file_shape, array.shape, strict=True)]
        along = [range(*of_axis) for of_axis in zip(corners, ends, array.chunk_shape, strict=True)]
        for start in itertools.product(*along):
            stops = (min(a + n, end) for a, n, end in zip(start, array.chunk_shape, ends, strict=True))
            array.read(tuple(map(slice, start, stops)))

    return LevelFiles(folder, names, names.is_sparse and not has_record, decode)


def _check_unpacked(path: Path) -> None:
    if _is_zipped(path):
        raise ParameterError(f"{path} is zarr in a ZIP, which is not read; unpack it and name the folder")


def _is_zipped(path: Path) -> bool:
    return path.name.lower().endswith(_ZIPPED) and path.is_file()
