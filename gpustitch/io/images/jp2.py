"""JPEG 2000 frames.

Pillow encodes several quality layers. imagecodecs encodes a single layer: its encoder knows no layers but lets other
threads run. Both use OpenJPEG. Decoded in full, a file of several layers gives the image of its last layer.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.images.files import reading

DEFAULT_PSNR_DB = (30.0, 40.0, 50.0, 60.0, 70.0, 80.0)
_QUANTISATION_MARKER = b"\xff\x5c"
_SPARE_GUARD_BITS = 3  # guard bits to use, of the 5 that OpenJPEG leaves unused
_ROUNDING_SHARE = 1 / 24  # share of rounding in the squared error that a ratio allows
_SIZE_MARKER = b"\xff\x4f\xff\x51"  # start of codestream, then image and tile size
_SIZE_BYTES = 44  # from there on, with the type of the first component


def encode_jp2(image: npt.NDArray[Any], psnr_db: Sequence[float] = DEFAULT_PSNR_DB) -> bytes:
    """A grey image as a JP2 file with one quality layer for each peak signal-to-noise ratio.

    Lossy layers use the 9/7 wavelet. With the 5/3 wavelet OpenJPEG drops the wrong bits: flat saturated or empty images
    come back off by thousands of counts. The encoder would spend most of its time on low bits below the last layer's
    error. Those bits are rounded away first, and the quantisation steps in the file are made larger to match.

    Parameters
    ----------
    image
        uint8 or uint16, (rows, columns).
    psnr_db
        Ratio of 255 or 65535 to the root-mean-square error of each layer, in dB, rising. A last ratio of 0 is lossless.
        OpenJPEG meets the ratios within about 3 dB in images of camera size, and at most 55 dB in uint8.

    Raises
    ------
    ParameterError
        If the ratios do not rise or the image has another type.
    """
    layers = check_psnr(psnr_db)
    if image.ndim != 2 or image.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise ParameterError(
            f"JPEG 2000 frames are grey uint8 or uint16, not {image.dtype} of shape {image.shape}; TIFF holds others"
        )
    if layers[-1] == 0:
        return _encode(np.ascontiguousarray(image), layers, lossless=True)
    bits = _bits_below_noise(image.dtype, layers[-1])
    if bits == 0:
        return _encode(np.ascontiguousarray(image), layers, lossless=False)
    return _with_coarser_steps(_encode(*_without_low_bits(image, bits, layers), lossless=False), bits)


def _encode(image: npt.NDArray[Any], layers: tuple[float, ...], *, lossless: bool) -> bytes:
    if len(layers) == 1:
        options: dict[str, Any] = {"level": layers[0], "reversible": lossless, "codecformat": "jp2", "numthreads": 1}
        return bytes(imagecodecs.jpeg2k_encode(image, **options))
    buffer = io.BytesIO()
    options = {"quality_mode": "dB", "quality_layers": list(layers), "irreversible": not lossless}
    Image.fromarray(image).save(buffer, "JPEG2000", **options)
    return buffer.getvalue()


def _bits_below_noise(dtype: np.dtype[Any], psnr_db: float) -> int:
    """How many low bits can be rounded away within ``_ROUNDING_SHARE`` of the squared error that this ratio allows."""
    allowed = (float(np.iinfo(dtype).max) / 10 ** (psnr_db / 20)) ** 2
    return max(0, min(_SPARE_GUARD_BITS, math.floor(math.log2(math.sqrt(12 * allowed * _ROUNDING_SHARE)))))


def _without_low_bits(
    image: npt.NDArray[Any], bits: int, layers: tuple[float, ...]
) -> tuple[npt.NDArray[Any], tuple[float, ...]]:
    """The image rounded to multiples of ``2**bits`` and divided by ``2**bits``, and the ratios its layers then need.

    Mid-grey keeps its value: a decoder scales differences from mid-grey by the quantisation steps.
    """
    middle = (int(np.iinfo(image.dtype).max) + 1) // 2
    coarse = (image.astype(np.uint32) + (1 << bits >> 1)) >> bits
    rounding = 4.0**bits / 12
    needed = []
    for layer in layers:
        allowed = (float(np.iinfo(image.dtype).max) / 10 ** (layer / 20)) ** 2
        needed.append(layer + 10 * math.log10(4.0**bits * allowed / (allowed - rounding)))
    return (coarse + (middle - (middle >> bits))).astype(image.dtype), tuple(needed)


def _with_coarser_steps(data: bytes, bits: int) -> bytes:
    """The file with every quantisation step ``2**bits`` times as large (ISO 15444-1, A.6.4 and E.1).

    The exponents of the steps fall as the guard bits rise, so every band keeps its number of bit planes.
    """
    patched = bytearray(data)
    at = data.index(_QUANTISATION_MARKER)
    (length,) = struct.unpack_from(">H", data, at + 2)
    patched[at + 4] += bits << 5
    for place in range(at + 5, at + 2 + length, 2):
        (step,) = struct.unpack_from(">H", data, place)
        struct.pack_into(">H", patched, place, step - (bits << 11))
    return bytes(patched)


def check_psnr(psnr_db: Sequence[float]) -> tuple[float, ...]:
    """The ratios, or ParameterError if they cannot be quality layers."""
    layers = tuple(float(value) for value in psnr_db)
    order = [math.inf if value == 0 else value for value in layers]
    if not layers or not all(math.isfinite(v) and v >= 0 for v in layers) or sorted(set(order)) != order:
        raise ParameterError(f"`psnr_db` takes rising numbers of dB, the last perhaps 0 (lossless), not {layers}")
    return layers


def read_jp2(path: Path) -> npt.NDArray[Any]:
    """The image in a JPEG 2000 file.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If the file cannot be decoded.
    """
    with reading(path, "JPEG 2000"):
        return np.asarray(imagecodecs.jpeg2k_decode(path.read_bytes(), numthreads=1))


def jp2_shape_and_dtype(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the image in a JPEG 2000 file, from its header alone; raises what :func:`read_jp2` raises."""
    with reading(path, "JPEG 2000"):
        with path.open("rb") as file:
            file.seek(_codestream(file))
            start = file.read(_SIZE_BYTES)
        if not start.startswith(_SIZE_MARKER) or len(start) < _SIZE_BYTES:
            raise DamagedInputError(f"{path} is not a JPEG 2000 file: there is no image size in it")
        right, bottom, left, top = struct.unpack_from(">4I", start, 8)
        (components,) = struct.unpack_from(">H", start, 40)
        bits, kind = (start[42] & 0x7F) + 1, "i" if start[42] & 0x80 else "u"
    shape = (bottom - top, right - left) if components == 1 else (bottom - top, right - left, components)
    return shape, np.dtype(f"{kind}{1 if bits <= 8 else 2 if bits <= 16 else 4}")


def _codestream(file: BinaryIO) -> int:
    """Where the codestream begins: behind the header of the box that holds it, or at once in a file without boxes."""
    if file.read(4) == _SIZE_MARKER:
        return 0
    at = 0
    while True:
        file.seek(at)
        length, name, longer = struct.unpack(">I4sQ", file.read(16))  # an error where the file ends
        header = 16 if length == 1 else 8
        if name == b"jp2c":
            return at + header
        at += longer if length == 1 else length
        if length == 0 or (length != 1 and length < header):
            raise ValueError("a box of it has no length")
