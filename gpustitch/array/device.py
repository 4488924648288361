"""Choosing a device once, and moving arrays to and from it."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array.namespace import Array, library_of
from gpustitch.errors import DeviceError, ParameterError


@dataclass(frozen=True)
class Device:
    """Where arrays live: the host (``index`` None) or CUDA device ``index``; ``why`` is one line for people."""

    index: int | None
    why: str

    @property
    def is_cuda(self) -> bool:
        """Whether this is a CUDA device."""
        return self.index is not None


@dataclass(frozen=True)
class CudaDevice:
    """A CUDA device that was found: its name, memory and compute capability."""

    index: int
    name: str
    memory_bytes: int
    capability: str


def cuda_devices() -> tuple[list[CudaDevice], str]:
    """CUDA devices that CuPy can use, and, where there are none, why."""
    try:
        runtime = importlib.import_module("cupy").cuda.runtime
    except ImportError:
        return [], "CuPy is not installed (pip install 'gpustitch[cuda12]' or 'gpustitch[cuda13]')"
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        return [], f"CuPy is installed but the CUDA driver says: {error}"
    devices = []
    for index in range(count):
        found = runtime.getDeviceProperties(index)
        devices.append(
            CudaDevice(
                index,
                found["name"].decode(),
                int(found["totalGlobalMem"]),
                f"{found['major']}.{found['minor']}",
            )
        )
    return devices, "" if devices else "the CUDA driver reports no device"


def choose_device(spec: str = "auto") -> Device:
    """Take the device that ``spec`` (``auto``, ``cpu``, ``cuda`` or ``cuda:N``) names.

    Raises
    ------
    ParameterError
        If ``spec`` is none of these.
    DeviceError
        If a CUDA device is named and cannot be used; the text says what was found.
    """
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", spec)
    if match is None or (match[2] and match[1] != "cuda"):
        raise ParameterError(f"--device is auto, cpu, cuda or cuda:N, not {spec!r}")
    if match[1] == "cpu":
        return Device(None, "cpu: as asked")
    devices, reason = cuda_devices()
    index = int(match[2] or 0)
    if index < len(devices):
        return Device(index, f"cuda:{index}: {devices[index].name}")
    if match[1] == "auto":
        return Device(None, f"cpu: {reason}")
    raise DeviceError(f"--device {spec} cannot be used: " + (reason or f"there are {len(devices)} CUDA devices"))


def to_device(array: Array, device: Device) -> Array:
    """The array on ``device`` (itself if it is there already)."""
    if not device.is_cuda:
        return to_host(array)
    cupy = importlib.import_module("cupy")
    with cupy.cuda.Device(device.index):
        moved: Array = cupy.asarray(array)
    return moved


def to_host(array: Array) -> npt.NDArray[Any]:
    """The array in host memory (itself if it is there already)."""
    if library_of(array) == "numpy":
        return np.asarray(array)
    host: npt.NDArray[Any] = importlib.import_module("cupy").asnumpy(array)
    return host
