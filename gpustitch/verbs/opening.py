"""Files as arrays: frames, planes and volumes that are read when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpustitch.io.frames import opening as frames_opening
from gpustitch.io.planes import opening as planes_opening
from gpustitch.io.volumes import opening as volume_opening
from gpustitch.model import Spacing
from gpustitch.verbs.lazy import LazyFrames, LazyVolume


def open_frames(path: str | Path, **how: Any) -> LazyFrames:
    """Camera frames (frame, row, column) of a file, a folder or a glob: DCIMG, TIFF, PNG, JPEG 2000.

    Parameters
    ----------
    path
        Where they are.
    **how
        As of :func:`gpustitch.io.frames.opening.open_frames`: ``allow_missing``, ``skip_damaged``, ``choice``.

    Raises
    ------
    InputMissingError, ParameterError, DamagedInputError
        If nothing lies there, files make several stacks, or a file is damaged.
    """
    return LazyFrames(frames_opening.open_frames(path, **how))


def open_planes(path: str | Path, **how: Any) -> LazyFrames:
    """Planes of whatever lies at a path: images, a volume, a ``.npy`` array.

    Parameters
    ----------
    path
        Where they are.
    **how
        As of :func:`gpustitch.io.planes.opening.open_planes`: ``allow_missing``, ``choice``.

    Raises
    ------
    InputMissingError, ParameterError, DamagedInputError
        If nothing lies there, it is of no known kind, or a file is damaged.
    """
    return LazyFrames(planes_opening.open_planes(path, **how))


def open_volume(path: str | Path, spacing_um: tuple[float, float, float] | None = None, **how: Any) -> LazyVolume:
    """The voxels (z, y, x) of a volume on disk: precomputed, OME-Zarr, blockfs, or a pipeline's folder.

    Parameters
    ----------
    path
        Where it is.
    spacing_um
        Distance of voxels (z, y, x), um, of a volume that does not state it.
    **how
        As of :func:`gpustitch.io.volumes.opening.open_volume`: ``allow_missing``, ``choice`` ...

    Raises
    ------
    InputMissingError, ParameterError, DamagedInputError
        If no volume lies there, it is damaged, or nothing says how far apart its voxels are.
    """
    folder = volume_opening.volume_at(Path(path)) or Path(path)
    spacing = None if spacing_um is None else Spacing(*spacing_um)
    volume = volume_opening.open_volume(folder, spacing, **how)
    return LazyVolume(volume)
