"""What this machine has: processors, GPUs and whether kernels run on them, versions of packages."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from gpustitch.array import Device, cpu_count, cuda_devices
from gpustitch.array.sources import own_folder
from gpustitch.array.transfer import hosted
from gpustitch.errors import DeviceError, GpustitchError
from gpustitch.ops.pyramid import downsample
from gpustitch.version import VERSION

_PACKAGES = (
    "numpy", "scipy", "PyWavelets", "scikit-image", "tensorstore", "zarr", "tifffile", "dcimg", "imagecodecs", "typer",
)  # fmt: skip
_OPTIONAL = ("cupy-cuda12x", "cupy-cuda13x", "cucim-cu12", "cucim-cu13", "neuroglancer", "matplotlib")


def describe_machine(taken: Device) -> Iterator[str]:
    """Processors, CUDA devices (or why there are none), the device that commands take, and versions."""
    yield f"python {platform.python_version()} on {platform.system()} {platform.machine()}, {cpu_count()} CPUs"
    devices, reason = cuda_devices()
    for found in devices:
        yield f"cuda:{found.index}: {found.name}, {found.memory_bytes / 2**30:.0f} GiB, capability {found.capability}"
        yield f"  {_working(Device(found.index, found.name))}"
    if not devices:
        yield f"no CUDA device: {reason}"
    yield f"commands take device {taken.why}"
    yield f"kernels: {_kernels()}"
    yield ", ".join([f"gpustitch {VERSION}", *(f"{name} {_version(name) or 'unknown'}" for name in _PACKAGES)])
    for name in _OPTIONAL:
        if _version(name):
            yield f"optional: {name} {_version(name)}"


def machine_facts(taken: Device) -> dict[str, Any]:
    """The same in JSON's types; whether kernels run is not tried, and packages that are not installed are left out."""
    devices, reason = cuda_devices()
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "cpus": cpu_count(),
        "cuda_devices": [vars(device) for device in devices],
        "why_no_cuda": reason or None,
        "device": str(taken),
        "packages": {name: version for name in (*_PACKAGES, *_OPTIONAL) if (version := _version(name))},
    }


def _kernels() -> str:
    """The place of the CUDA bodies."""
    try:
        return str(own_folder())
    except DeviceError as error:
        return f"NOT FOUND: {error}"


def _working(device: Device) -> str:
    """Whether bodies compile and run on the device, and whether cuCIM is installed."""
    volume = np.arange(64, dtype=np.uint16).reshape(4, 4, 4)
    try:
        reduced = hosted(downsample, device)(volume)
    except GpustitchError as error:
        return f"DOES NOT WORK: {error}"
    if not np.array_equal(reduced, downsample(volume)):
        return "DOES NOT WORK: a kernel ran but its result is wrong"
    if any(map(_version, ("cucim-cu12", "cucim-cu13"))):
        return "kernels compile and run; cuCIM is installed"
    return "kernels compile and run; cuCIM is not installed (wavelet thresholds of float images need it)"


def _version(name: str) -> str:
    """Version of an installed package; empty if the package is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
