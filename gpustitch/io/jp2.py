"""JPEG 2000 frames.

Several quality layers are encoded by Pillow, one by imagecodecs, whose encoder knows no layers but lets other threads
run; both are OpenJPEG. Decoded in full, a file of several layers shows what its last layer alone would.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.images import reading

DEFAULT_PSNR_DB = (30.0, 40.0, 50.0, 60.0, 70.0, 80.0)
_SIZE_MARKER = b"\xff\x4f\xff\x51"  # start of codestream, then image and tile size


def encode_jp2(image: npt.NDArray[Any], psnr_db: Sequence[float] = DEFAULT_PSNR_DB) -> bytes:
    """A grey image as a JP2 file with one quality layer for each peak signal-to-noise ratio.

    Lossy layers use the 9/7 wavelet: with the 5/3 one, OpenJPEG's choice of what to drop is off by thousands of counts
    in flat saturated images.

    Parameters
    ----------
    image
        uint8 or uint16, (rows, columns).
    psnr_db
        Ratio of 255 or 65535 to the root-mean-square error of each layer, dB, rising; 0 as the last one is lossless.

    Raises
    ------
    ParameterError
        If the ratios do not rise or the image is of another type.
    """
    layers = check_psnr(psnr_db)
    if image.ndim != 2 or image.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise ParameterError(f"JPEG 2000 frames are grey uint8 or uint16, not {image.dtype} of shape {image.shape}")
    image = np.ascontiguousarray(image)
    lossless = layers[-1] == 0
    if len(layers) == 1:
        options: dict[str, Any] = {"level": layers[0], "reversible": lossless, "codecformat": "jp2", "numthreads": 1}
        return bytes(imagecodecs.jpeg2k_encode(image, **options))
    buffer = io.BytesIO()
    Image.fromarray(image).save(
        buffer, "JPEG2000", quality_mode="dB", quality_layers=list(layers), irreversible=not lossless
    )
    return buffer.getvalue()


def check_psnr(psnr_db: Sequence[float]) -> tuple[float, ...]:
    """The ratios, if they can be quality layers; ParameterError otherwise."""
    layers = tuple(float(value) for value in psnr_db)
    order = [math.inf if value == 0 else value for value in layers]
    if not layers or not all(math.isfinite(v) and v >= 0 for v in layers) or sorted(set(order)) != order:
        raise ParameterError(f"--psnr takes rising numbers of dB, of which the last may be 0 (lossless), not {layers}")
    return layers


def read_jp2(path: Path) -> npt.NDArray[Any]:
    """The image in a JPEG 2000 file.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If it cannot be decoded.
    """
    with reading(path, "JPEG 2000"):
        return np.asarray(imagecodecs.jpeg2k_decode(path.read_bytes(), numthreads=1))


def jp2_shape_and_dtype(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the image in a JPEG 2000 file, from its header alone; raises as :func:`read_jp2`."""
    with reading(path, "JPEG 2000"):
        with path.open("rb") as file:
            start = file.read(1 << 16)
        at = start.find(_SIZE_MARKER)
        if at < 0 or len(start) < at + 44:
            raise DamagedInputError(f"{path} is not a JPEG 2000 file: there is no image size in it")
        right, bottom, left, top = struct.unpack_from(">4I", start, at + 8)
        (components,) = struct.unpack_from(">H", start, at + 40)
        bits = (start[at + 42] & 0x7F) + 1
    shape = (bottom - top, right - left) if components == 1 else (bottom - top, right - left, components)
    return shape, np.dtype(np.uint8 if bits <= 8 else np.uint16)
