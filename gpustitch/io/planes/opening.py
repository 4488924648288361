"""Section series and volumes of any kind, read plane by plane or by box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import InputMissingError, ParameterError
from gpustitch.io.frames.format import PLANE_TYPES, Reading
from gpustitch.io.frames.formats import FRAME_FORMATS, frame_files, frame_format
from gpustitch.io.frames.opening import open_files
from gpustitch.io.planes.adapters import FramePlanes, VolumePlanes
from gpustitch.io.planes.format import PlaneFormat, Planes, doubt_of
from gpustitch.io.planes.nifti import NiftiFormat
from gpustitch.io.planes.npy import NpyFormat
from gpustitch.io.registry import Registry, either
from gpustitch.io.stacks.choice import NO_CHOICE, StackChoice, check_no_choice, chosen_of
from gpustitch.io.volumes.opening import VOLUME_FORMATS, is_volume, open_volume, volume_at
from gpustitch.model import ZYX, Box, Coverage, Spacing
from gpustitch.ops.padded import padded

# Formats of planes alone; planes are also read from all formats of frames and volumes.
PLANE_FORMATS: Registry[PlaneFormat] = Registry("planes", "gpustitch.planes", (NpyFormat(), NiftiFormat()))
_ANY_SPACING = Spacing(1.0, 1.0, 1.0)


def open_planes(pattern_or_path: str | Path, *, allow_missing: bool = False, choice: StackChoice = NO_CHOICE) -> Planes:
    """The planes of whatever lies at a path.

    The path may lead to

    - a file of frames, or a folder or glob of such files, by the numbers in their names;
    - a folder with a volume (level 0, planes of constant z), or a pipeline's output folder;
    - a file of a format in :data:`PLANE_FORMATS`, ``.npy`` (plane, row, column) or NIfTI, of which ``choice`` takes one
      of several volumes in time.

    Parameters
    ----------
    pattern_or_path
        The path, or a glob pattern.
    allow_missing
        Go on where planes, or chunks of a volume, are missing; planes keep their place, chunks read as empty.
    choice
        Which of several stacks to read.

    Raises
    ------
    InputMissingError
        If nothing lies at the path.
    ParameterError
        If the path leads to none of the kinds above, to files of several kinds, or to several stacks.
    DamagedInputError
        If a file is damaged, planes differ in size or type, or some are missing.
    """
    path = Path(pattern_or_path)
    # The flat field beside the pipeline's volume is an image, but no plane of it.
    if (folder := volume_at(path)) is not None:
        return _volume_planes(folder, allow_missing, choice)
    if path.is_file():
        for source in PLANE_FORMATS:
            if source.has_suffix(path):
                if stacks := source.stacks(path):
                    return source.open_stack(path, stacks.index(chosen_of(path, stacks, choice)))
                check_no_choice(path, choice)
                return source.open(path)
        if frame_format(path) is None:
            raise ParameterError(f"{path} is of no kind that planes are read from: {plane_sources()}")
    try:
        files = frame_files(pattern_or_path)
    except InputMissingError as error:
        if path.is_dir():
            raise InputMissingError(f"{path} holds no planes: {plane_sources()}") from error
        raise
    opened = open_files(pattern_or_path, files, Reading(PLANE_TYPES, allow_missing, choice))
    return FramePlanes(opened.frames, str(pattern_or_path), *opened.format.stated(opened.files, opened.image))


def plane_files(pattern_or_path: str | Path) -> list[Path]:
    """The path itself, and the files that :func:`open_planes` reads in a folder or of a glob: no output may be one."""
    path = Path(pattern_or_path)
    if path.is_file() or volume_at(path) is not None:
        return [path]
    try:
        return [path, *frame_files(pattern_or_path)]
    except InputMissingError:  # opening it tells
        return [path]


def plane_sources() -> str:
    """The kinds of files and folders that planes are read from, for messages and help."""
    frames, volumes = either(FRAME_FORMATS.names), either(VOLUME_FORMATS.names)
    return f"{frames} files, a {either(PLANE_FORMATS.names)} array, a volume ({volumes})"


def check_outside(output: Path, source: Path, *, is_image: bool) -> None:
    """Raise ParameterError if an output lies in the input volume, or is an image in the folder of input planes."""
    folder = source.resolve()
    parents = output.resolve().parents
    if folder.is_dir() and ((folder in parents and is_volume(folder)) or (is_image and parents[0] == folder)):
        raise ParameterError(f"{output} lies in the input {source}; choose an output outside it")


def _volume_planes(folder: Path, allow_missing: bool, choice: StackChoice) -> VolumePlanes:
    volume = open_volume(folder, _ANY_SPACING, allow_missing=allow_missing, choice=choice)
    return VolumePlanes(volume, str(folder), volume.stated_spacing, volume.depth)


class PlanesVolume:
    """Planes as a :class:`gpustitch.model.Volume`; its coverage is the whole box.

    Parameters
    ----------
    planes
        The stack of planes.
    spacing
        Voxel spacing; by default the spacing that the planes state.

    Attributes
    ----------
    origin_um
        Where the first voxel is (z, y, x), um, as the planes state it; 0 where they do not.

    Raises
    ------
    ParameterError
        If ``spacing`` is not given and the planes state none.
    """

    def __init__(self, planes: Planes, spacing: Spacing | None = None) -> None:
        known = spacing or planes.spacing
        if known is None:
            raise ParameterError(f"{planes.name} {doubt_of(planes)}; give it (z, y and x, in um)")
        self.planes = planes
        self.origin_um: tuple[float, float, float] = getattr(planes, "origin_um", None) or (0.0, 0.0, 0.0)
        self.spacing: Spacing = known
        self.dtype: np.dtype[Any] = planes.dtype
        z, y, x = planes.shape
        self.coverage = Coverage(x, y, z)

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x)."""
        return self.coverage.shape

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``, shape ``box.shape``; zero outside the planes."""
        return padded(box, self.shape, self.dtype, self._inside)

    def _inside(self, box: Box) -> npt.NDArray[Any]:
        z, y, x = box.slices()
        return self.planes.read(z.start, z.stop, y, x)
