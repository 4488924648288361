"""What a number is: Python does not look at annotations, and ``"1.8"`` would fail somewhere below."""

from __future__ import annotations

from typing import Any

from gpustitch.errors import ParameterError


def is_number(value: Any) -> bool:
    """Whether a value stands for one real number; texts do not."""
    if isinstance(value, str | bytes | bytearray):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def check_numbers(**values: Any) -> None:
    """ParameterError by the name of the first of the values that is no real number."""
    for name, value in values.items():
        if not is_number(value):
            raise ParameterError(f"`{name}` must be a number, not {value!r:.60}", parameter=name)


def check_whole(**values: Any) -> None:
    """ParameterError by the name of the first of the values that is no whole number."""
    check_numbers(**values)
    for name, value in values.items():
        if not float(value).is_integer():
            raise ParameterError(f"`{name}` must be a whole number, not {value!r:.60}", parameter=name)
