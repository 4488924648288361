"""Pixels of DICOM slices in a given order, as planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.images.files import reading
from gpustitch.io.planes.adapters import check_range
from gpustitch.model import Spacing
from gpustitch.model.arrays import HostArray, Integers
from gpustitch.slices.dicom.codecs import check_color_decodable, check_decodable, decode_color, decode_slice
from gpustitch.slices.held import check_held
from gpustitch.slices.model import SliceHeader, SliceSeries, StoredPixels

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
# BitsAllocated that are read; the last is for real numbers too.
_ALLOCATED = (1, 8, 16, 32, 64)
_WHOLE = (np.uint8, np.uint16, np.int16)
# Whole numbers of so many bits are float32 as they are, as BitsAllocated tells them.
_HELD_BITS = 16


class DicomPlanes:
    """Slices of a series in the order given, as planes (:class:`gpustitch.io.planes.opening.Planes`).

    Values are rescaled: slope x stored + intercept, each slice with its own. They stay whole numbers if all slopes are
    1 and all intercepts whole: of the first of uint8, uint16 and int16 that holds all that BitsStored,
    PixelRepresentation and the intercepts allow. Otherwise they are float32, which holds whole numbers to 2^24 exactly.
    Other whole numbers that it does not hold are refused when they are read, and so are numbers beyond 3.4e38.
    CT of 16 signed bits with an intercept of -1024 becomes float32: its headers allow more than int16 holds. Its pixels
    hardly ever need that, but only reading them all would tell. MONOCHROME1 (low values are bright) is left as it is
    stored. Several threads may read at the same time.

    Color slices of 8 bits are read as red, green and blue, one after another in a row: ``samples`` is 3 then, and the
    last axis of ``shape`` three times as long.

    Parameters
    ----------
    series
        As :func:`gpustitch.slices.dicom.series.find_dicom_series` returns it.
    order
        int (n,): numbers in ``series.headers``, the slices in the order wanted.
    spacing
        What to state as voxel spacing.
    dtype
        Type wanted, one of those above, instead of the one that the headers promise to hold all. A slice with values
        outside it is refused when it is read: nothing is clipped.

    Raises
    ------
    ParameterError
        If there is no slice, slices are of a kind that is not read, some are grey and others are not, they differ in
        size, or ``dtype`` cannot hold rescaled values.
    MissingExtraError
        If pixels are compressed in a way that needs the extra ``dicom``.
    """

    depth = 1
    absent: frozenset[int] = frozenset()

    def __init__(
        self,
        series: SliceSeries,
        order: Integers | Sequence[int],
        spacing: Spacing | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        self.headers = tuple(series.headers[int(i)] for i in order)
        self.name = series.name
        self.spacing = spacing
        if not self.headers:
            raise ParameterError(f"{self.name} has no slice to read")
        shapes = {header.shape for header in self.headers}
        if len(shapes) > 1:
            raise ParameterError(f"slices of {self.name} differ in size: {sorted(shapes)} (rows, columns)")
        self._pixels = tuple(_checked(header) for header in self.headers)
        self.samples = _common_samples(self.name, self._pixels)
        rows, columns = self.headers[0].shape
        self.shape: tuple[int, int, int] = (len(self.headers), rows, columns * self.samples)
        self.stored = max((_stored_type(pixels) for pixels in set(self._pixels)), key=lambda kind: kind.itemsize)
        self.dtype: np.dtype[Any] = _common_type(self._pixels) if dtype is None else np.dtype(dtype)
        if dtype is not None:
            _check_type(self.name, self._pixels, self.dtype)

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> HostArray:
        """Planes ``start <= z < stop``, cut to ``rows`` and ``columns``, as a new array.

        Raises
        ------
        ParameterError
            If the range is not inside the stack, or values are outside the type that was asked for, or float32.
        DamagedInputError
            If pixels of a file are truncated or cannot be decoded.
        """
        check_range(self.name, self.shape[0], start, stop)
        n_rows, n_columns = len(range(self.shape[1])[rows]), len(range(self.shape[2])[columns])
        out = np.empty((stop - start, n_rows, n_columns), self.dtype)
        for plane, header, pixels in zip(out, self.headers[start:stop], self._pixels[start:stop], strict=True):
            stored = _stored(header, pixels, rows, columns)
            if self.dtype.kind == "f":
                values = _rescaled(stored, pixels)
                with np.errstate(over="ignore"):
                    plane[...] = values
                if pixels.n_bits > _HELD_BITS:
                    check_held(plane, values, header.path, is_whole=_is_whole(pixels))
                continue
            if not _holds(self.dtype, _header_range(pixels)):
                _check_values(header, stored, pixels, self.dtype)
            # May wrap around here, and then does again: the sum fits the type.
            plane[...] = stored
            if pixels.intercept:
                plane += int(pixels.intercept)
        return out


def pixels_equal(one: SliceHeader, other: SliceHeader) -> bool:
    """Whether two slices have the same size and the same values, rescaled.

    Raises
    ------
    ParameterError, MissingExtraError, DamagedInputError
        As :class:`DicomPlanes` does.
    """
    if one.shape != other.shape:
        return False
    images = []
    for header in (one, other):
        pixels = _checked(header)
        stored = _stored(header, pixels, slice(None), slice(None))
        images.append(_rescaled(stored, pixels))
    return bool(np.array_equal(images[0], images[1], equal_nan=images[0].dtype.kind == "f"))


def _rescaled(stored: HostArray, pixels: StoredPixels) -> npt.NDArray[np.float64]:
    """In float64, so that only the last step rounds."""
    values = np.multiply(stored, pixels.slope, dtype=np.float64)
    values += pixels.intercept
    return values


def _checked(header: SliceHeader) -> StoredPixels:
    """How pixels are stored, if they can be read at all."""
    pixels = header.pixels
    if pixels is None:
        raise ParameterError(f"{header.path} was not read as DICOM")
    if pixels.photometric not in (*_GREY, *_COLOR) or pixels.samples != _samples(pixels):
        raise ParameterError(
            f"{header.path}: PhotometricInterpretation (0028,0004) is {pixels.photometric or 'missing'} with "
            f"{pixels.samples} samples for each pixel; grey slices (MONOCHROME1 or MONOCHROME2) or colors (RGB, YBR) "
            "were expected"
        )
    allowed = (8,) if pixels.samples > 1 else _ALLOCATED
    if pixels.n_bits not in allowed:
        raise ParameterError(
            f"{header.path}: BitsAllocated (0028,0100) is {pixels.n_bits}; "
            f"{'colors are' if pixels.samples > 1 else 'it may be'} {', '.join(map(str, allowed))}"
        )
    if pixels.has_table:
        raise ParameterError(
            f"{header.path}: ModalityLUTSequence (0028,3000) gives values by a table; only RescaleSlope and "
            "RescaleIntercept are applied"
        )
    if pixels.samples > 1:
        check_color_decodable(header.path, pixels.syntax)
    elif pixels.offset is None:
        check_decodable(header.path, pixels.syntax)
    return pixels


def _samples(pixels: StoredPixels) -> int:
    return 3 if pixels.photometric in _COLOR else 1


def _common_samples(name: str, slices: Sequence[StoredPixels]) -> int:
    """Samples of a pixel; ParameterError if slices differ in that."""
    found = {pixels.samples for pixels in slices}
    if len(found) > 1:
        raise ParameterError(f"some slices of {name} are grey and some have colors; slices of a series are alike")
    return found.pop()


def _common_type(slices: Sequence[StoredPixels]) -> np.dtype[Any]:
    """The smallest type that holds every value that the headers allow."""
    kinds = set(slices)
    if not all(map(_is_whole, kinds)):
        return np.dtype(np.float32)
    ranges = [(0, 0), *map(_header_range, kinds)]
    found = min(low for low, _ in ranges), max(high for _, high in ranges)
    return np.dtype(next((kind for kind in _WHOLE if _holds(np.dtype(kind), found)), np.float32))


def _stored_type(pixels: StoredPixels) -> np.dtype[Any]:
    """The type of samples in the file, in the order of this machine."""
    kind = pixels.stored_as[1:2] or ("i" if pixels.is_signed else "u")
    return np.dtype(f"{kind}{max(1, pixels.n_bits // 8)}")


def _is_whole(pixels: StoredPixels) -> bool:
    """Whether rescaled values are whole numbers."""
    return pixels.slope == 1 and pixels.intercept == int(pixels.intercept) and pixels.stored_as[1:2] != "f"


def _header_range(pixels: StoredPixels) -> tuple[int, int]:
    """Least and greatest whole value that the header allows."""
    span = 1 << pixels.bits_stored
    least = (-span // 2 if pixels.is_signed else 0) + int(pixels.intercept)
    return least, least + span - 1


def _holds(dtype: np.dtype[Any], values: tuple[int, int]) -> bool:
    return bool(np.iinfo(dtype).min <= values[0] and values[1] <= np.iinfo(dtype).max)


def _check_type(name: str, slices: Sequence[StoredPixels], dtype: np.dtype[Any]) -> None:
    """ParameterError if slices cannot be read as the type that was asked for."""
    if dtype not in (*_WHOLE, np.float32):
        raise ParameterError(f"`dtype` is {dtype}, but slices are read as uint8, uint16, int16 or float32")
    if dtype.kind != "f" and not all(map(_is_whole, set(slices))):
        raise ParameterError(f"{name} cannot be read as {dtype}: rescaled values are not whole numbers")


def _check_values(header: SliceHeader, stored: HostArray, pixels: StoredPixels, dtype: np.dtype[Any]) -> None:
    """ParameterError if whole values are outside a type."""
    if not stored.size:
        return
    low, high = int(stored.min()) + int(pixels.intercept), int(stored.max()) + int(pixels.intercept)
    if not _holds(dtype, (low, high)):
        raise ParameterError(
            f"{header.path}: slice {header.frame} holds values from {low} to {high}, which {dtype} does not; "
            "read them as float32"
        )


def _stored(header: SliceHeader, pixels: StoredPixels, rows: slice, columns: slice) -> HostArray:
    """Pixels as stored, unused bits made to follow from the others."""
    wanted = range(header.shape[0])[rows]
    if pixels.samples > 1:
        return decode_color(header)[rows, columns]
    if pixels.offset is None:
        image = decode_slice(header)[rows, columns]
    elif not wanted:
        image = np.empty((0, header.shape[1]), pixels.stored_as)[:, columns]
    else:
        first, last = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
        band = _read_rows(header, pixels, first, last + 1)
        image = band[np.array(wanted) - first, columns] if wanted.step != 1 else band[:, columns]
    bits = image.dtype.itemsize * 8
    if image.dtype.kind == "f" or pixels.bits_stored == bits:
        return image
    # What lies above BitsStored may be anything: sign, zeros, overlays of old.
    image = image << (bits - 1 - pixels.high_bit)
    return image >> (bits - pixels.bits_stored)


def _read_rows(header: SliceHeader, pixels: StoredPixels, first: int, stop: int) -> HostArray:
    """Rows of an uncompressed slice; reads no other part of the file."""
    n_columns, dtype = header.shape[1], np.dtype(pixels.stored_as)
    count = (stop - first) * n_columns
    with reading(header.path, "DICOM pixels"):
        offset = (pixels.offset or 0) + first * n_columns * dtype.itemsize
        found = np.fromfile(header.path, dtype, count, offset=offset)
    if found.size < count:
        raise DamagedInputError(
            f"{header.path} is truncated: PixelData (7fe0,0010) ends in or before rows {first} to {stop - 1} of slice "
            f"{header.frame}"
        )
    return found.reshape(stop - first, n_columns)
