"""What is no number is refused by the name of the parameter, wherever geometry is stated."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from gpustitch.errors import ParameterError
from gpustitch.model import ObliqueScan, Spacing
from gpustitch.model.numbers import check_numbers, check_whole, is_number

NO_NUMBERS: tuple[Any, ...] = ("1.8", "", b"1", None, [], (1, 2), 1j, {}, object())
STATED: dict[Any, dict[str, Any]] = {
    Spacing: {"z_um": 1.0, "y_um": 1.0, "x_um": 1.0},
    ObliqueScan: {"n_frames": 5, "n_rows": 4, "n_columns": 3, "pixel_um": 1.8, "step_um": 1.28, "angle_deg": 45.0},
}


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, given in STATED.items() for name in given])
@pytest.mark.parametrize("value", NO_NUMBERS)
def test_geometry_refuses_what_is_no_number(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=f"`{name}` must be a (whole )?number") as refused:
        kind(**STATED[kind] | {name: value})
    assert refused.value.parameter == name


@pytest.mark.parametrize("name", ["n_frames", "n_rows", "n_columns"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 2.5])
def test_a_scan_has_whole_numbers_of_pixels(name: str, value: float) -> None:
    with pytest.raises(ParameterError, match=f"`{name}` must be a whole number"):
        ObliqueScan(**STATED[ObliqueScan] | {name: value})


@pytest.mark.parametrize("value", ["a", 2.5, 3, ("1",), (None,), (1.5,)])
def test_absent_frames_are_numbers(value: Any) -> None:
    with pytest.raises(ParameterError, match=re.escape(f"`absent` must be numbers of frames, not {value!r}")):
        ObliqueScan(**STATED[ObliqueScan], absent=value)


@pytest.mark.parametrize("value", [1, 2.0, np.float32(3), np.int64(4), np.array(5.0), True])
def test_numbers_of_all_libraries_are_numbers(value: Any) -> None:
    assert is_number(value)
    check_numbers(one=value)
    check_whole(one=value)
