"""Steps on volumes: smaller ones, and files of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.array import Array, to_host
from gpustitch.array.transfer import hosted
from gpustitch.errors import ParameterError
from gpustitch.io.write import opening as write_opening
from gpustitch.io.write.format import VolumeOutput, Writing
from gpustitch.io.write.formats import format_for
from gpustitch.io.write.losses import lost_text, not_held
from gpustitch.model import ZYX
from gpustitch.ops import pyramid
from gpustitch.verbs.sources import array_of, device_of, spacing_given, volume_of
from gpustitch.verbs.stated import matrix_stated, type_stated
from gpustitch.verbs.told import tell
from gpustitch.verbs.typed import as_numpy_does, typed

Triple = tuple[float, float, float]
# What may be stated of a volume besides its voxel size, which callers give.
_STATED = ("origin_um", "affine_lps_mm", "channel")


def downsample(volume: Any, method: str = "mean", factors: ZYX = (2, 2, 2)) -> Array:
    """Halve a volume along every axis, or along some.

    Parameters
    ----------
    volume
        (z, y, x) of any library: uint8, uint16, uint32, float32 or float64.
    method, factors
        As of :func:`gpustitch.ops.pyramid.downsample`: ``"mean"``, ``"max"``, ``"mode"`` or ``"stride"`` (the first) of
        each cell of voxels, and the voxels of a cell along (z, y, x), 1 or 2.

    Returns
    -------
    array
        New, of the same type, where the volume is. Its shape is ``ceil(n / factor)``: cells at an odd end are smaller.

    Raises
    ------
    ParameterError
        If the array is empty, has not three axes or another type, or ``method`` or ``factors`` are not as stated.

    Examples
    --------
    >>> import numpy as np
    >>> import gpustitch as gs
    >>> gs.downsample(np.arange(8, dtype=np.uint16).reshape(1, 2, 4), factors=(1, 2, 2))
    array([[[2, 4]]], dtype=uint16)
    """
    with as_numpy_does():
        return pyramid.downsample(array_of(volume), method, factors)


@typed(write_opening.open_output, Writing)
def open_output(path: str | Path, shape: ZYX, dtype: Any, spacing_um: Triple, **how: Any) -> VolumeOutput:
    """Open a file or folder to write a volume into, block by block.

    The name of ``path`` chooses the format, as in :func:`gpustitch.write`, unless ``format`` does.

    Parameters
    ----------
    path
        File or folder to create.
    shape, dtype, spacing_um
        The volume (z, y, x) and the distance of its voxels, um.
    **how
        ``format``, and all of :class:`gpustitch.io.write.format.Writing`: ``levels``, ``codec``, ``overwrite`` ...

    Returns
    -------
    VolumeOutput
        A context manager. ``blocks()`` are the boxes in order, ``write(box, voxels)`` takes one. The volume appears
        when the ``with`` block ends without an error. Blocks that were never given are 0.

    Raises
    ------
    ParameterError
        If a size is out of range, or the format lacks an option or the type.
    OutputExistsError, OutputError
        If the path exists, or cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> import gpustitch as gs
    >>> with gs.open_output("ones.zarr", (40, 50, 60), "uint16", spacing_um=(2.0, 1.0, 1.0)) as output:
    ...     for box in output.blocks():
    ...         output.write(box, np.ones(box.shape, np.uint16))
    >>> gs.open_volume("ones.zarr")
    <LazyVolume 40 x 50 x 60 uint16, voxels of 2 x 1 x 1 um>
    """
    given = {"downsample": pyramid.signed_too(pyramid.downsample), **how}
    given["affine_lps_mm"] = matrix_stated(given.get("affine_lps_mm"))
    return write_opening.open_output(path, shape, type_stated(dtype), spacing_given(spacing_um), **given)


@typed(write_opening.open_output, Writing)
def write(path: str | Path, volume: Any, spacing_um: Triple | None = None, **how: Any) -> Path:
    """Write a volume in any format: ``.zarr`` OME-Zarr, ``.tif`` TIFF, ``.nii`` NIfTI, else a precomputed folder.

    A lazy volume is computed and written block by block, and never held whole.

    Parameters
    ----------
    path
        File or folder to create.
    volume
        (z, y, x) of any library, or a lazy volume.
    spacing_um
        Distance of voxels (z, y, x), um; by default that of the volume.
    **how
        ``format``, and all of :class:`gpustitch.io.write.format.Writing`: ``levels``, ``codec``, ``overwrite`` ...
        ``origin_um`` is that of the volume by default.

    Returns
    -------
    Path
        The path, of which :func:`gpustitch.open_volume` gives back voxels, spacing and origin.

    Raises
    ------
    ParameterError
        If an array comes without ``spacing_um``, or the format lacks an option.
    OutputExistsError, OutputError
        If the path exists, or cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> import gpustitch as gs
    >>> path = gs.write("made.tif", np.zeros((10, 20, 30), np.uint16), spacing_um=(2.0, 1.0, 1.0), origin_um=(0, 5, 0))
    >>> gs.open_volume(path).origin_um
    (0.0, 5.0, 0.0)
    """
    states_its_spacing = hasattr(volume, "spacing") and hasattr(volume, "read")
    source = volume_of(volume, None if states_its_spacing else spacing_um)
    device = device_of(volume)
    given = {"downsample": pyramid.signed_too(hosted(pyramid.downsample, device)), **how}
    if source.affine_lps_mm is not None and "origin_um" not in how:
        given.setdefault("affine_lps_mm", source.affine_lps_mm)
    elif any(source.origin_um) and "affine_lps_mm" not in how:
        given.setdefault("origin_um", source.origin_um)
    given["affine_lps_mm"] = matrix_stated(given.get("affine_lps_mm"))
    if given["affine_lps_mm"] is not None:
        _check_same_size(spacing_um, given["affine_lps_mm"])
    spacing = source.spacing_um if spacing_um is None else spacing_um
    _tell_losses(Path(path), source.dtype, given)
    with open_output(path, source.shape, source.dtype, spacing, **given) as output:
        for box in output.blocks():
            output.write(box, to_host(source[box.slices()]))
    return Path(path)


def _tell_losses(path: Path, dtype: Any, given: dict[str, Any]) -> None:
    """Warn of what the format does not hold; a folder's record then does, if nothing else was asked for."""
    format = format_for(path, given.get("format"))
    lost = not_held(format, dtype, given.get("codec"), {name: given.get(name) for name in _STATED})
    if "affine_lps_mm" in lost and format.resumes and given.get("sidecar") is None:
        given["sidecar"] = {"affine_lps": np.asarray(given["affine_lps_mm"], np.float64).tolist()}
    if lost:
        tell(lost_text(format, path, lost, dtype, has_record=given.get("sidecar") is not None))


def _check_same_size(spacing_um: Triple | None, affine_lps_mm: Any) -> None:
    """ParameterError if a spacing contradicts the matrix that is written."""
    stated = np.linalg.norm(np.asarray(affine_lps_mm, np.float64)[:3, 2::-1], axis=0) * 1000
    if spacing_um is not None and not np.allclose(spacing_um, stated, rtol=1e-3, atol=0):
        raise ParameterError(
            f"`spacing_um` is {tuple(spacing_um)}, but the matrix of the volume says {tuple(stated.tolist())}; "
            "leave it out, or give `affine_lps_mm`"
        )
