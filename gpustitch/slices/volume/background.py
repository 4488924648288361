"""What voxels hold where there is nothing: what the files say of such pixels."""

from __future__ import annotations

from collections.abc import Iterator

from gpustitch.io.planes.format import Planes
from gpustitch.slices.dicom.pixels import DicomPlanes
from gpustitch.slices.model import SliceStack, StoredPixels


def background_of(planes: Planes, given: float | None) -> float:
    """The value given, or PixelPaddingValue, rescaled, if all slices state one and the same; else 0.

    Parameters
    ----------
    planes
        Slices that are resampled.
    given
        None for what the files say.
    """
    if given is not None:
        return given
    if not isinstance(planes, DicomPlanes) or planes.samples > 1:
        return 0.0
    stated = {
        None if pixels is None or pixels.padding is None else pixels.slope * pixels.padding + pixels.intercept
        for pixels in (header.pixels for header in planes.headers)
    }
    found = stated.pop() if len(stated) == 1 else None
    return 0.0 if found is None else float(found)


def no_data_of(planes: Planes) -> tuple[tuple[float, float] | None, ...]:
    """The value of pixels without data of each slice, rescaled, and the other end of their range; None without.

    Empty if no slice states any. Colors have none.
    """
    if not isinstance(planes, DicomPlanes) or planes.samples > 1:
        return ()
    found = tuple(None if header.pixels is None else _empty_range(header.pixels) for header in planes.headers)
    return found if any(found) else ()


def _empty_range(pixels: StoredPixels) -> tuple[float, float] | None:
    if pixels.padding is None:
        return None
    limit = pixels.padding if pixels.padding_limit is None else pixels.padding_limit
    return pixels.slope * pixels.padding + pixels.intercept, pixels.slope * limit + pixels.intercept


def background_warnings(stack: SliceStack, background: float) -> Iterator[str]:
    """That the background of CT is water."""
    intercepts = [header.pixels.intercept for header in stack.series.headers if header.pixels is not None]
    is_ct = stack.series.key.get("Modality") == "CT" and min(intercepts, default=0.0) < 0
    if is_ct and background == 0:
        yield "the background is 0, which is water in CT (`background` -1024 is air)"
