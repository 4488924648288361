"""Operations on arrays of the host that compute elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from gpustitch.array import Array, Device, on, to_device, to_host

HostArray = npt.NDArray[Any]


def hosted(op: Callable[[Array], Array], device: Device) -> Callable[[HostArray], HostArray]:
    """``op`` as a function from host to host: its argument is moved to ``device``, its result back."""
    return functools.partial(_run, op, device)


def _run(op: Callable[[Array], Array], device: Device, array: HostArray) -> HostArray:
    with on(device):
        return to_host(op(to_device(array, device)))
