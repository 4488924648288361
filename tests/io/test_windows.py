"""Windows of arrays in files: as NumPy gives them, and an error where the file becomes shorter."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError
from gpustitch.io import windows
from gpustitch.io.frames.tiff import TiffPages, TiffPagesOfFiles
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.io.windows import StoredArray, StoredFile
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample


@st.composite
def windows_of(draw: st.DrawFn, n: int) -> slice:
    """A window along an axis of length n, forward or backward."""
    bound = st.none() | st.integers(-n - 1, n + 1)
    return slice(draw(bound), draw(bound), draw(st.sampled_from([None, 1, 2, 3, -1, -2])))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_window_of_any_array(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 6)] * 3))
    dtype = np.dtype(data.draw(st.sampled_from(["<u1", "<u2", ">u2", "<f4", ">f8"])))
    offset, band = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 40))
    rows, columns = data.draw(windows_of(shape[1])), data.draw(windows_of(shape[2]))
    start = data.draw(st.integers(0, shape[0]))
    stop = data.draw(st.integers(start, shape[0]))
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    path = tmp_path_factory.getbasetemp() / "window.bin"
    path.write_bytes(bytes(offset) + array.tobytes())
    with pytest.MonkeyPatch.context() as patched, StoredFile(path) as file:
        patched.setattr(windows, "_BAND_BYTES", band)
        read = StoredArray(file, offset, dtype, shape).read(start, stop, rows, columns)
        np.testing.assert_array_equal(read, array[start:stop, rows, columns])
        assert read.dtype == dtype.newbyteorder("=") and read.flags.c_contiguous
        for n_bytes in (1, array.nbytes):  # no part of what is cut off is taken for zeros
            path.write_bytes((bytes(offset) + array.tobytes())[:-n_bytes])
            with pytest.raises(DamagedInputError, match="cut short"):
                StoredArray(file, offset, dtype, shape)


PIXELS = np.random.default_rng(0).integers(1, 4000, (6, 64, 96)).astype(np.uint16)
Read = Callable[..., npt.NDArray[Any]]


def opened(kind: str, folder: Path) -> tuple[Path, Read]:
    """A file of pixels of one kind, and how its planes are read."""
    file = folder / kind
    if kind.endswith(".npy"):
        np.save(file, np.asfortranarray(PIXELS) if kind == "turned.npy" else PIXELS)
        return file, open_planes(file).read
    if kind == "volume":
        spacing = Spacing(1, 1, 1)
        options = {"downsample": downsample, "levels": 1, "shard_bytes": 0}
        with PrecomputedWriter(file, PIXELS.shape, PIXELS.dtype, spacing, Writing(**options)) as writer:
            for box in writer.blocks():
                writer.write(box, PIXELS[box.slices()])
        volume = PrecomputedVolume(file)
        return next(file.rglob("0-64_*")), lambda start, stop: volume.read(Box((start, 0, 0), (stop, 64, 96)))
    byteorder = ">" if kind == "big-endian.tif" else "<"
    if kind == "pages.tif":
        with tifffile.TiffWriter(file) as tiff:
            for page in PIXELS:
                tiff.write(page, contiguous=False)
    else:
        tifffile.imwrite(file, PIXELS, byteorder=byteorder)
    if kind == "of files.tif":
        return file, TiffPagesOfFiles([(file, k) for k in range(len(PIXELS))]).read
    return file, TiffPages(file).read


KINDS = ("plain.npy", "turned.npy", "plain.tif", "big-endian.tif", "pages.tif", "of files.tif", "volume")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_becomes_shorter_is_an_error(kind: str, tmp_path: Path) -> None:
    file, read = opened(kind, tmp_path)
    np.testing.assert_array_equal(read(0, 6), PIXELS)
    os.truncate(file, file.stat().st_size // 3)
    with pytest.raises(DamagedInputError) as refused:
        read(0, 6)
    assert file.name in str(refused.value)


@pytest.mark.posix
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_others_may_cut_off_is_mapped(kind: str, tmp_path: Path) -> None:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no list of what is mapped")
    _, read = opened(kind, tmp_path)
    kept = read(1, 3)
    assert str(tmp_path) not in maps.read_text()
    np.testing.assert_array_equal(kept, PIXELS[1:3])
