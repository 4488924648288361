"""Series whose pixels are of unusual kinds or not all there, with the values that were stored, by random numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import tifffile
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import MPEG4HP41, UID, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from gpustitch.demo.series.dicom import write_series

# Kinds of stored pixels that become a volume, with the type of its voxels.
GREY = {
    "int8": "int16", "uint32": "float32", "int32": "float32", "uint64": "float32", "float32": "float32",
    "float64": "float32",
}  # fmt: skip
COLOR = ("RGB", "RGB planar", "YBR_FULL", "RGB rle", "RGB j2k")
REFUSED = ("PALETTE COLOR", "RGB 16", "lut", "12 bits", "mpeg", "grey and color")
TIFF_TYPES = ("bool", "int8", "int32", "uint32", "float16", "float64")
TIFF_REFUSED = ("uint64", "int64", "complex64", "uint16 x 3")


class Drawn:
    """Numbers of a series drawn from a seed: ``n`` slices of ``shape``, ``spacing_mm`` apart."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.n = int(self.rng.integers(4, 8))
        self.shape = tuple(int(v) for v in self.rng.integers(9, 20, 2))
        self.spacing_mm = round(float(self.rng.uniform(0.4, 6)), 3)

    def write(self, folder: Path, edit: Callable[[Any, int], None] | None = None, **options: Any) -> list[Path]:
        """Write the series; ``edit`` changes each data set."""
        return write_series(
            folder, np.arange(self.n) * self.spacing_mm, shape=self.shape, series="odd", edit=edit, **options
        )


def write_grey(folder: Path, kind: str, drawn: Drawn) -> np.ndarray:
    """A series stored as a NumPy type; the values."""
    dtype = np.dtype(kind)
    shape = (drawn.n, *drawn.shape)
    values = drawn.rng.normal(0, 50, shape).astype(dtype) if dtype.kind == "f" else None
    if values is None:
        values = drawn.rng.integers(-100 if dtype.kind == "i" else 0, 100, shape).astype(dtype)

    def edit(data, k):
        del data.PixelData
        bits = dtype.itemsize * 8
        data.BitsAllocated = bits
        if dtype.kind == "f":
            del data.BitsStored, data.HighBit, data.PixelRepresentation
            setattr(data, "FloatPixelData" if bits == 32 else "DoubleFloatPixelData", values[k].tobytes())
            return
        data.BitsStored, data.HighBit, data.PixelRepresentation = bits, bits - 1, int(dtype.kind == "i")
        raw = values[k].tobytes()
        data.PixelData = raw + b"\0" * (len(raw) % 2)
        data["PixelData"].VR = "OV" if bits == 64 else "OW" if bits > 8 else "OB"

    drawn.write(folder, edit)
    return values


def write_color(folder: Path, kind: str, drawn: Drawn) -> np.ndarray:
    """A series in colors; red, green and blue (slice, row, column, 3)."""
    values = drawn.rng.integers(0, 256, (drawn.n, *drawn.shape, 3), np.uint8)
    space, _, how = kind.partition(" ")
    paths = drawn.write(folder, lambda data, k: _colored(data, _stored_color(values[k], space, how), space, how))
    for path in paths if how in ("rle", "j2k") else ():
        data = pydicom.dcmread(path)
        if how == "rle":
            data.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        else:
            data.file_meta.TransferSyntaxUID = JPEG2000Lossless
            image = np.frombuffer(data.PixelData, np.uint8)[: 3 * data.Rows * data.Columns]
            image = image.reshape(data.Rows, data.Columns, 3)
            stream = imagecodecs.jpeg2k_encode(image, reversible=True, level=0, codecformat="j2k", mct=False)
            data.PixelData = encapsulate([bytes(stream)])
            data["PixelData"].is_undefined_length = True
        data.save_as(path)
    return np.stack([convert_color_space(v, "YBR_FULL", "RGB") for v in values]) if space == "YBR_FULL" else values


def _stored_color(image: np.ndarray, space: str, how: str) -> bytes:
    raw = (np.moveaxis(image, -1, 0) if how == "planar" else image).tobytes()
    return raw + b"\0" * (len(raw) % 2)


def _colored(data: Any, raw: bytes, space: str, how: str) -> None:
    data.SamplesPerPixel, data.PhotometricInterpretation = 3, space
    data.PlanarConfiguration = int(how == "planar")
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PixelData = raw
    data["PixelData"].VR = "OB"


def write_refused(folder: Path, kind: str, drawn: Drawn) -> None:
    """A series of which no volume is made."""
    rows, columns = drawn.shape
    color = np.zeros((rows, columns, 3), np.uint8)

    def edit(data, k):
        if kind == "PALETTE COLOR":
            data.PhotometricInterpretation = kind
        elif kind == "RGB 16":
            _colored(data, bytes(6 * rows * columns), "RGB", "")
            data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        elif kind == "lut":
            table = pydicom.Dataset()
            table.LUTDescriptor, table.LUTData, table.ModalityLUTType = [2, 0, 16], b"\0\0\1\0", "US"
            data.ModalityLUTSequence = [table]
        elif kind == "12 bits":
            data.BitsAllocated, data.BitsStored, data.HighBit = 12, 12, 11
        elif kind == "grey and color" and k == drawn.n // 2:
            _colored(data, _stored_color(color, "RGB", ""), "RGB", "")

    for path in drawn.write(folder, edit):
        if kind == "mpeg":
            data = pydicom.dcmread(path)
            data.file_meta.TransferSyntaxUID = UID(MPEG4HP41)
            data.PixelData = encapsulate([bytes(100)])
            data["PixelData"].is_undefined_length = True
            data.save_as(path)


CUT_SYNTAXES = (None, RLELossless, JPEGBaseline8Bit, JPEG2000Lossless, JPEGLSLossless)


def write_cut(folder: Path, syntax: str | None, drawn: Drawn) -> str:
    """A series of which the file of a slice within it ends in its pixels; the name of that file."""
    options = {} if syntax is None else {"transfer_syntax": syntax}
    paths = drawn.write(folder, dtype="uint8", pixels=lambda x, y, z: (x * 31 + y * 17 + z) % 200, **options)
    chosen = paths[int(drawn.rng.integers(1, drawn.n - 1))]
    data = chosen.read_bytes()
    chosen.write_bytes(data[: len(data) - int(drawn.rng.integers(20, 60))])
    return chosen.name


def write_tiff(folder: Path, kind: str, drawn: Drawn) -> np.ndarray:
    """A stack of single TIFFs of a NumPy type, perhaps ``x 3``; the values."""
    name, _, samples = kind.partition(" x ")
    shape = (drawn.n, *drawn.shape, *([3] if samples else []))
    values = drawn.rng.integers(0, 2 if name == "bool" else 100, shape).astype(name)
    folder.mkdir()
    for k, image in enumerate(values):
        more = {"photometric": "rgb"} if samples else {}
        tifffile.imwrite(folder / f"s{k:03d}.tif", image, **more)
    return values
