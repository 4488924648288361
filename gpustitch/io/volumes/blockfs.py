"""Reading blockfs volumes: a directory file of block positions, and files of Blosc-compressed blocks.

spimstitch writes the format of blockfs 1.0 into ``1_1_1/precomputed.blockfs``. A file ``info`` in the volume's folder
holds the voxel size.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.volumes.format import FULL, Access, StoredVolume, VolumeFormat
from gpustitch.io.volumes.precomputed import read_info
from gpustitch.model import ZYX, Box, Coverage, Spacing

BLOCKFS_FILE = "precomputed.blockfs"
MAGIC = b"BlockFS\0"
_INTEGERS = (
    "XBlockSize", "YBlockSize", "ZBlockSize", "NOffsetBits", "NSizeBits",
    "XExtent", "YExtent", "ZExtent", "XStride", "YStride", "ZStride",
)  # fmt: skip


@dataclass(frozen=True)
class _Directory:
    """The content of a directory file. Block (i, j, k) has entry number ``i*stride_z + j*stride_y + k*stride_x``."""

    path: Path
    shape: ZYX
    block_shape: ZYX
    strides: ZYX
    dtype: np.dtype[Any]
    offset_bits: int
    size_bits: int
    files: tuple[Path, ...]
    entries: bytes

    def place(self, entry: int) -> tuple[Path, int, int]:
        """File, offset and size of the block with this entry number; the size of an unwritten block is 0."""
        width = (self.offset_bits + self.size_bits + 7) // 8
        packed = int.from_bytes(self.entries[entry * width : (entry + 1) * width], "little")
        offset = packed & ((1 << self.offset_bits) - 1)
        size = packed >> self.offset_bits & ((1 << self.size_bits) - 1)
        return self.files[entry % len(self.files)], offset, size


class BlockfsVolume:
    """A blockfs volume on disk (:class:`gpustitch.model.Volume`); may be read from several threads.

    Parameters
    ----------
    path
        The folder of the volume, its subfolder ``1_1_1``, or the directory file ``precomputed.blockfs`` itself.
    spacing
        Voxel spacing; by default the spacing in the file ``info`` in the volume's folder.

    Attributes
    ----------
    stated_spacing
        The spacing in the file ``info``; None if ``spacing`` was given.
    chunk_shape, depth
        Voxels (z, y, x) of a block, and its planes.
    levels
        1, as blockfs has no pyramid.
    n_files, n_missing
        0, as blocks share files.

    Raises
    ------
    InputMissingError
        If the directory file or a file of blocks is not there.
    DamagedInputError
        If the directory file is not of that format, or contradicts itself.
    ParameterError
        If neither ``spacing`` nor a file ``info`` states the voxel size.
    """

    def __init__(self, path: str | Path, spacing: Spacing | None = None) -> None:
        self.path = Path(path)
        self._directory = _read_directory(_directory_file(self.path))
        self.spacing = _spacing_of(self._directory.path) if spacing is None else spacing
        self.stated_spacing = self.spacing if spacing is None else None
        self.chunk_shape = self._directory.block_shape
        self.depth = self.chunk_shape[0]
        self.levels = 1
        self.n_files = self.n_missing = 0
        self.dtype = self._directory.dtype
        z, y, x = self._directory.shape
        self.coverage = Coverage(x, y, z)

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x)."""
        return self._directory.shape

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``, shape ``box.shape``; zero outside the volume and where no block was written.

        Raises
        ------
        DamagedInputError
            If a block cannot be decoded.
        """
        out = np.zeros(box.shape, self.dtype)
        for part, index in self._parts(box):
            corner = [i * n for i, n in zip(index, self.chunk_shape, strict=True)]
            block = Box.of_shape(self.chunk_shape, corner).intersect(Box.of_shape(self.shape))
            voxels = self._block(self._entry(index), block)
            if voxels is not None:
                out[part.slices(box.start)] = voxels[part.slices(block.start)]
        return out

    def holds(self, box: Box) -> bool:
        """Whether any block of ``box`` was written."""
        return any(self._directory.place(self._entry(index))[2] > 0 for _, index in self._parts(box))

    def _parts(self, box: Box) -> Iterator[tuple[Box, ZYX]]:
        """The parts of a box that lie in one block each, and the block's place on the grid."""
        for part in box.intersect(Box.of_shape(self.shape)).blocks(self.chunk_shape):
            z, y, x = (a // n for a, n in zip(part.start, self.chunk_shape, strict=True))
            yield part, (z, y, x)

    def _entry(self, index: ZYX) -> int:
        return sum(i * s for i, s in zip(index, self._directory.strides, strict=True))

    def _block(self, entry: int, block: Box) -> npt.NDArray[Any] | None:
        """Voxels of a block; None for one that was never written."""
        path, offset, size = self._directory.place(entry)
        if size == 0:
            return None
        try:
            with path.open("rb") as file:
                file.seek(offset)
                packed = file.read(size)
            decoded = imagecodecs.blosc_decode(packed) if len(packed) == size else b""
            return np.frombuffer(decoded, self.dtype).reshape(block.shape)
        except (OSError, ValueError, imagecodecs.BloscError) as error:
            raise DamagedInputError(
                f"{path}: the block of voxels {block.start} to {block.stop} (z, y, x), {size} bytes at {offset}, "
                f"cannot be read: {error}"
            ) from error


def _directory_file(path: Path) -> Path:
    for file in (path, path / BLOCKFS_FILE, path / "1_1_1" / BLOCKFS_FILE):
        if file.is_file():
            return file
    raise InputMissingError(f"{path} is not a blockfs volume: there is no file 1_1_1/{BLOCKFS_FILE} in it")


def _read_directory(path: Path) -> _Directory:
    """The directory of a blockfs volume: its shape, and where each block lies."""
    data = path.read_bytes()
    if data[:8] != MAGIC or len(data) < 16:
        raise DamagedInputError(f"{path} is not a blockfs directory: it begins with {data[:8]!r}, not {MAGIC!r}")
    text_bytes, first_entry = struct.unpack_from("<II", data, 8)
    try:
        text = json.loads(data[16 : 16 + text_bytes].decode("utf-8"))
        value = {key: int(text[key]) for key in _INTEGERS}
        dtype = np.dtype(text["DType"])
        files = tuple(_block_file(path, name) for name in text["BlockFilenames"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedInputError(
            f"{path}: its description cannot be understood: {type(error).__name__}: {error}"
        ) from error
    if not any(data[first_entry:]):
        raise DamagedInputError(f"{path} names no block that was written, so the volume would be empty")
    shape, block_shape, strides = (
        (value[f"Z{what}"], value[f"Y{what}"], value[f"X{what}"]) for what in ("Extent", "BlockSize", "Stride")
    )
    if min(*shape, *block_shape, value["NOffsetBits"], value["NSizeBits"], len(files)) < 1:
        raise DamagedInputError(f"{path}: sizes must be positive, not {value}")
    return _Directory(
        path, shape, block_shape, strides, dtype, value["NOffsetBits"], value["NSizeBits"], files, data[first_entry:]
    )


def _block_file(directory_file: Path, name: str) -> Path:
    """A file of blocks: beside the directory file, as in a moved volume, or where blockfs wrote the file."""
    candidates = (directory_file.parent / Path(name).name, Path(name), directory_file.parent / name)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise InputMissingError(f"{directory_file} names a file of blocks that is not there: {candidates[0]}")


def _spacing_of(directory_file: Path) -> Spacing:
    folder = directory_file.parent
    for holder in (folder.parent, folder):
        if not (holder / "info").is_file():
            continue
        scales = read_info(holder, has_chunks=False)["scales"]
        scale = next((scale for scale in scales if scale["key"] == folder.name), scales[0])
        x_nm, y_nm, z_nm = (float(v) for v in scale["resolution"])
        return Spacing(z_nm / 1000, y_nm / 1000, x_nm / 1000)
    raise ParameterError(f"{directory_file}: no file {folder.parent / 'info'} states its voxel size; give `spacing`")


class BlockfsFormat(VolumeFormat):
    """blockfs, in the folder of a volume or in its subfolder ``1_1_1``."""

    name = "blockfs"
    marks = (f"1_1_1/{BLOCKFS_FILE}", BLOCKFS_FILE)

    def open(self, folder: Path, access: Access = FULL) -> StoredVolume:
        """The volume in a folder, which has one level."""
        try:
            return BlockfsVolume(folder)
        except ParameterError:  # the volume states no voxel size
            if access.fallback is None:
                raise
            return BlockfsVolume(folder, access.fallback)
