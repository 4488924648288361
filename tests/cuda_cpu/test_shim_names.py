"""Names and parameters of the stand-in for CuPy are those of CuPy and cuCIM, where these are installed.

Importing them needs no device and no driver.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re

import pytest

from tests.cuda_cpu import shim, shim_names


def real(name):
    """A module of CuPy or cuCIM as installed; importing them needs no driver."""
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        pytest.skip(f"{name} is not installed")
    try:
        return importlib.import_module(name)
    except Exception as error:
        pytest.skip(f"{name} cannot be imported: {error}")


def said(signature):
    """Parameters of ``f(a, b=1, *, c=2)`` by position, and all of them, from a signature or its text."""
    text = re.sub(r"\([^()]*\)", "", re.sub(r"^[^(]*\(|\)[^)]*$", "", str(signature)))
    words = [re.sub(r"[:=].*", "", part).strip().split(" ")[-1] for part in text.split(",")]
    by_position = words[: words.index("*")] if "*" in words else words
    return [w for w in by_position if w not in ("self", "/")], words


def check(name, text, signature):
    by_position, by_name = shim_names.parameters(text)
    places, known = said(signature)
    assert by_position == places[: len(by_position)], f"{name}: CuPy takes {places}"
    assert set(by_name) <= set(known), f"{name}: CuPy takes {known}"


@pytest.mark.parametrize(
    ("module", "table"),
    [
        ("cupy", {**shim_names.FUNCTIONS, **shim_names.CREATION}),
        ("cupy.lib.stride_tricks", shim_names.STRIDE_TRICKS),
        ("cupyx.scipy.fft", {**shim_names.SCIPY_FFT, **shim_names.SCIPY_FFT_CREATION, **shim_names.SCIPY_FFT_NUMBERS}),
        ("cupyx.scipy.ndimage", shim_names.SCIPY_NDIMAGE),
        ("cucim.skimage.filters", shim_names.SKIMAGE_FILTERS),
        ("cucim.skimage.feature", shim_names.SKIMAGE_FEATURE),
        ("cucim.skimage.measure", shim_names.SKIMAGE_MEASURE),
        ("cucim.skimage.registration", shim_names.SKIMAGE_REGISTRATION),
    ],
)
def test_functions_are_those_of_the_real_libraries(module, table):
    theirs = real(module)
    for name, text in table.items():
        check(name, text, inspect.signature(getattr(theirs, name)))


def test_elementwise_functions_and_methods_are_those_of_cupy():
    cupy = real("cupy")
    for name in [*shim_names.UFUNCS, *shim_names.SHARED, *shim_names.VARIADIC]:
        assert hasattr(cupy, name), name
    for name in shim_names.UFUNCS:
        assert set(shim_names.UFUNC_KEYWORDS) <= set(said(getattr(cupy, name).__doc__.strip().split("\n")[0])[1]), name
    for name, text in shim_names.METHODS.items():
        check(name, text, getattr(cupy.ndarray, name).__doc__.strip().split("\n")[0])
    own = {name for name in vars(shim.ndarray) if not name.startswith("_")}
    assert own <= set(dir(cupy.ndarray))
    special = {name for name in vars(shim.ndarray) if name.startswith("__")} - {"__weakref__"}
    assert special <= set(dir(cupy.ndarray)) | {"__module__"}
