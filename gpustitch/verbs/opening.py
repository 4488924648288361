"""Files as arrays: frames, planes and volumes that are read when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpustitch.errors import ParameterError
from gpustitch.io.frames import opening as frames_opening
from gpustitch.io.planes import opening as planes_opening
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.volumes import opening as volume_opening
from gpustitch.io.volumes.sidecar import affine_of_level, read_affine, record_of
from gpustitch.verbs.lazy import LazyFrames, LazyVolume
from gpustitch.verbs.sources import choosing, spacing_given, whole_number
from gpustitch.verbs.typed import typed


@typed(StackChoice, frames_opening.open_frames)
def open_frames(path: str | Path, **how: Any) -> LazyFrames:
    """Open camera frames (frame, row, column) of a file, a folder or a glob: DCIMG, TIFF, PNG, JPEG 2000.

    Parameters
    ----------
    path
        Where they are.
    **how
        As of :func:`gpustitch.io.frames.opening.open_frames`: ``allow_missing``, ``skip_damaged``. Of several
        stacks ``stack_channel``, ``stack_time`` and ``stack_series`` choose one.

    Returns
    -------
    LazyFrames
        (frame, row, column), of the type in the files. A frame is read when it is indexed; missing frames are 0.

    Raises
    ------
    InputMissingError, ParameterError, DamagedInputError
        If nothing lies there, files make several stacks, or a file is damaged.

    Examples
    --------
    >>> import gpustitch as gs
    >>> frames = gs.open_frames("Ex_488_Em_1/000000/000000_000000/000000.dcimg")
    >>> frames
    <LazyFrames 72 x 80 x 56 uint16>
    >>> frames[0].shape
    (80, 56)
    """
    return LazyFrames(frames_opening.open_frames(path, **choosing(how)))


@typed(StackChoice, planes_opening.open_planes)
def open_planes(path: str | Path, **how: Any) -> LazyFrames:
    """Open the planes of images, a volume or a ``.npy`` array.

    Parameters
    ----------
    path
        Where they are.
    **how
        As of :func:`gpustitch.io.planes.opening.open_planes`: ``allow_missing``; ``stack_channel`` ... as of
        :func:`open_frames`.

    Returns
    -------
    LazyFrames
        (plane, row, column), of the type in the files. A plane is read when it is indexed.

    Raises
    ------
    InputMissingError, ParameterError, DamagedInputError
        If nothing lies there, it is of no known kind, or a file is damaged.

    Examples
    --------
    >>> import gpustitch as gs
    >>> gs.open_planes("sections.tif").shape
    (48, 64, 64)
    """
    return LazyFrames(planes_opening.open_planes(path, **choosing(how)))


@typed(StackChoice, volume_opening.open_volume)
def open_volume(path: str | Path, spacing_um: tuple[float, float, float] | None = None, **how: Any) -> LazyVolume:
    """Open a volume: precomputed, OME-Zarr, blockfs, a folder of the pipeline, or planes in one file.

    Parameters
    ----------
    path
        Where it is.
    spacing_um
        Distance of voxels (z, y, x), um, of a volume that does not state it.
    **how
        As of :func:`gpustitch.io.volumes.opening.open_volume`: ``level``, ``allow_missing``; ``stack_channel`` ... as
        of :func:`open_frames`. Planes in a file, as of a TIFF, have no levels.

    Returns
    -------
    LazyVolume
        (z, y, x), of the type in the files. A part is read when it is indexed. ``origin_um`` is what the files state,
        or 0.

    Raises
    ------
    InputMissingError, ParameterError, DamagedInputError
        If no volume lies there, it is damaged, or nothing says how far apart its voxels are.

    Examples
    --------
    >>> import gpustitch as gs
    >>> gs.open_volume("sections.tif")
    <LazyVolume 48 x 64 x 64 uint16, voxels of 0.05 x 0.01 x 0.01 um>
    """
    place, how = Path(path), choosing(how)
    if "level" in how:
        how["level"] = whole_number(how["level"], "level")
    folder = volume_opening.volume_at(place)
    spacing = None if spacing_um is None else spacing_given(spacing_um)
    if folder is None and place.is_file():
        if level := how.pop("level", 0):
            raise ParameterError(f"{place} has one level, 0; `level` is {level}")
        planes = planes_opening.open_planes(place, **how)
        flat = planes_opening.PlanesVolume(planes, spacing)
        found = LazyVolume(flat, flat.origin_um)
        found.affine_lps_mm = getattr(planes, "affine_lps_mm", None) if spacing is None else None
        return found
    volume = volume_opening.open_volume(folder or place, spacing, **how)
    found = LazyVolume(volume, getattr(volume, "origin_um", (0.0, 0.0, 0.0)))
    affine = read_affine(record_of(folder or place)) if spacing is None else None
    found.affine_lps_mm = None if affine is None else affine_of_level(affine, volume.spacing)
    return found
