"""Which library owns an array. The array decides; no function below a mission's ``stage.py`` takes a library."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DeviceError

# CuPy arrays are NumPy arrays to the type checker: the two libraries share the interface that ops use.
Array = npt.NDArray[Any]
# What brings the libraries of a device.
EXTRAS = "pip install 'gpustitch[cuda12]' or 'gpustitch[cuda13]'"
# By any of these a library says that an object is an array.
_PROTOCOLS = ("__array_ufunc__", "__array__", "__array_interface__", "__cuda_array_interface__", "__dlpack__")


def library_of(*arrays: object) -> str:
    """Name of the library, ``"numpy"`` or ``"cupy"``, that owns all the arrays.

    Scalars and None belong to no library and do not count; without any array the library is NumPy.

    Raises
    ------
    TypeError
        If arrays of both libraries are mixed, or one is of another library, masked or a matrix.
    """
    # Asked for by every step of every block, nearly always of these.
    if arrays and all(type(array) is np.ndarray for array in arrays):
        return "numpy"
    owners = {_owner(a) for a in arrays if is_array(a)}
    foreign = owners - {"numpy", "cupy"}
    if foreign:
        raise TypeError(
            f"gpustitch works on NumPy and CuPy arrays, not on those of {', '.join(sorted(foreign))}; "
            "numpy.asarray, or cupy.asarray on a device, makes one of them"
        )
    if len(owners) > 1:
        raise TypeError("NumPy and CuPy arrays are mixed; move them to one device first")
    return owners.pop() if owners else "numpy"


def is_array(value: object) -> bool:
    """Whether this is an array of any library, and no scalar."""
    return isinstance(value, np.ndarray) or (
        not isinstance(value, np.generic) and any(hasattr(value, protocol) for protocol in _PROTOCOLS)
    )


def refuse_unlike(array: object) -> None:
    """TypeError for arrays that would be taken for what they are not: masks get lost, and ``*`` is another product."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError("the array is masked, and its mask would be lost; fill it, or give the mask beside it")
    if isinstance(array, np.matrix):
        raise TypeError("the array is a numpy.matrix, whose products are others; numpy.asarray makes an array of it")


def _owner(array: object) -> str:
    refuse_unlike(array)
    return "numpy" if isinstance(array, np.ndarray) else type(array).__module__.partition(".")[0]


def namespace(*arrays: object) -> Any:
    """The module, ``numpy`` or ``cupy``, that owns the arrays."""
    return np if library_of(*arrays) == "numpy" else importlib.import_module("cupy")


def scipy_of(*arrays: object) -> Any:
    """``scipy`` for NumPy arrays, ``cupyx.scipy`` for CuPy arrays; ``ndimage`` and ``fft`` are loaded."""
    root = "scipy" if library_of(*arrays) == "numpy" else "cupyx.scipy"
    return _with_submodules(root, ("ndimage", "fft"))


def skimage_of(*arrays: object) -> Any:
    """``skimage`` for NumPy arrays, ``cucim.skimage`` for CuPy arrays; ``filters`` is loaded.

    Raises
    ------
    DeviceError
        If arrays lie on a device and cuCIM is not installed.
    """
    if library_of(*arrays) == "numpy":
        return _with_submodules("skimage", ("filters",))
    try:
        return _with_submodules("cucim.skimage", ("filters",))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "cucim":
            raise
        raise DeviceError(f"cuCIM is not installed ({EXTRAS}); `device` cpu does without") from error


def _with_submodules(root: str, names: tuple[str, ...]) -> ModuleType:
    for name in names:
        importlib.import_module(f"{root}.{name}")
    return importlib.import_module(root)
