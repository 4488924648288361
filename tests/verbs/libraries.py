"""The same array in several libraries, for tests of what takes arrays of any."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import dask.array
import numpy as np
import zarr
from scipy.ndimage import gaussian_filter

from tests.cuda_cpu import shim

LIBRARIES = ("numpy", "zarr", "dask", "cupy")


@contextlib.contextmanager
def in_library(library: str, *arrays: np.ndarray) -> Iterator[list[Any]]:
    """The arrays as those of a library; ``cupy`` is the stand-in."""
    if library != "cupy":
        made = {
            "numpy": np.array,
            "zarr": lambda a: zarr.array(a, chunks=tuple(max(1, n // 2) for n in a.shape)),
            "dask": lambda a: dask.array.from_array(a, chunks=tuple(max(1, n // 3) for n in a.shape)),
        }[library]
        yield [made(array) for array in arrays]
        return
    with shim.installed() as cupy:
        yield [cupy.asarray(array) for array in arrays]


def on_host(array: Any, library: str) -> np.ndarray:
    """A result in host memory; it must lie where its input was."""
    owner = type(array).__module__.partition(".")[0]
    assert owner == ("cupy" if library == "cupy" else "numpy"), (owner, library)
    return shim.asnumpy(array) if library == "cupy" else array


def texture(shape: tuple[int, ...], seed: int = 0, dtype: str = "uint16") -> np.ndarray:
    """Smooth random values from 0 to 4000."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    values = (noise - noise.min()) / np.ptp(noise) * 4000
    return (values if dtype.startswith("f") else np.rint(values)).astype(dtype)
