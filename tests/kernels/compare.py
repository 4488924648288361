"""Comparing the arguments of a twin after its definition and after its body ran."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.kernels.case import Case

Arguments = dict[str, Any]


def mapped(function: Callable[[Any], Any], arguments: Mapping[str, Any]) -> Arguments:
    """The arguments with the function applied to all arrays, those in lists too."""
    return {name: _mapped(function, value) for name, value in arguments.items()}


def compare(case: Case, expected: Arguments, found: Arguments, given: Arguments | None = None) -> None:
    """What was to be written is within the case's tolerances; everything else is as it was.

    The arguments ``given`` are made anew where they are not at hand.
    """
    original = case.arguments() if given is None else given
    for name in expected:
        written = name in case.written
        wanted, tolerance = (expected, (case.rtol, case.atol)) if written else (original, (0.0, 0.0))
        for i, (a, b) in enumerate(zip(_arrays(found[name]), _arrays(wanted[name]), strict=True)):
            _assert_close(a, b, tolerance, f"{name}[{i}]" if isinstance(found[name], list | tuple) else name)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [function(array) for array in value]
    return value if isinstance(value, bool | int | float | np.generic) else function(value)


def _arrays(value: Any) -> list[Any]:
    """The arrays of an argument; none of a number."""
    values = value if isinstance(value, list | tuple) else [value]
    return [v for v in values if isinstance(v, np.ndarray)]


def _assert_close(found: Any, wanted: Any, tolerance: tuple[float, float], name: str) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), name
    if found.tobytes() == wanted.tobytes():  # as most are, which is told sooner
        return
    rtol, atol = tolerance
    if rtol or atol:
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol, equal_nan=True, err_msg=name)
        return
    np.testing.assert_array_equal(found, wanted, err_msg=name)
    if found.dtype.kind == "f":
        numbers = ~np.isnan(wanted)
        signs = np.signbit(found[numbers]) == np.signbit(wanted[numbers])
        assert np.all(signs), f"{name}: zeros of another sign"
