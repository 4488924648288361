"""Which library owns an array. The array decides; no function below a mission's ``stage.py`` takes a library."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

# CuPy arrays are NumPy arrays to the type checker: the two libraries share the interface that ops use.
Array = npt.NDArray[Any]


def library_of(*arrays: object) -> str:
    """Name of the library, ``"numpy"`` or ``"cupy"``, that owns all the arrays.

    Scalars and None belong to no library and do not count; without any array the library is NumPy.

    Raises
    ------
    TypeError
        If arrays of both libraries are mixed.
    """
    owners = {_owner(a) for a in arrays if hasattr(a, "__array_ufunc__") and not isinstance(a, np.generic)}
    foreign = owners - {"numpy", "cupy"}
    if foreign:
        raise TypeError(f"gpustitch works on NumPy and CuPy arrays, not on those of {sorted(foreign)}")
    if len(owners) > 1:
        raise TypeError("NumPy and CuPy arrays are mixed; move them to one device first")
    return owners.pop() if owners else "numpy"


def _owner(array: object) -> str:
    return "numpy" if isinstance(array, np.ndarray) else type(array).__module__.partition(".")[0]


def namespace(*arrays: object) -> Any:
    """The module, ``numpy`` or ``cupy``, that owns the arrays."""
    return np if library_of(*arrays) == "numpy" else importlib.import_module("cupy")


def scipy_of(*arrays: object) -> Any:
    """``scipy`` for NumPy arrays, ``cupyx.scipy`` for CuPy arrays; ``ndimage`` and ``fft`` are loaded."""
    root = "scipy" if library_of(*arrays) == "numpy" else "cupyx.scipy"
    return _with_submodules(root, ("ndimage", "fft"))


def skimage_of(*arrays: object) -> Any:
    """``skimage`` for NumPy arrays, ``cucim.skimage`` for CuPy arrays; ``filters`` and ``feature`` are loaded."""
    root = "skimage" if library_of(*arrays) == "numpy" else "cucim.skimage"
    return _with_submodules(root, ("filters", "feature"))


def _with_submodules(root: str, names: tuple[str, ...]) -> ModuleType:
    for name in names:
        importlib.import_module(f"{root}.{name}")
    return importlib.import_module(root)
