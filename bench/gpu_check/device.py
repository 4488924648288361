"""Step: the device and the versions of what the other steps use."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.gpu_check.sanitizers import sanitizer
from bench.gpu_check.step import Asked, device_of, is_stand_in
from gpustitch.array import cuda_devices
from gpustitch.version import VERSION

PACKAGES = (
    "numpy", "scipy", "scikit-image", "tensorstore", "tifffile", "PyWavelets", "imagecodecs", "dcimg",
)  # fmt: skip


def device(asked: Asked) -> None:
    """The first device, then any others."""
    cupy, _ = device_of()
    runtime = cupy.cuda.runtime
    first, *others = cuda_devices()[0]
    _, memory = cupy.cuda.Device(0).mem_info
    asked.add(
        first.name,
        capability=first.capability,
        memory_GB=round(memory / 1e9, 1),
        driver=runtime.driverGetVersion(),
        runtime=runtime.runtimeGetVersion(),
        CuPy=cupy.__version__,
        cuCIM=_cucim(),
        gpustitch=VERSION,
        Python=platform.python_version(),
        CPU=_cpu(),
        cores=os.cpu_count(),
        **{name: _version(name) for name in PACKAGES},
        sanitizer=sanitizer() or "not installed",
        temporary=f"{shutil.disk_usage(tempfile.gettempdir()).free / 1e9:.0f} GB free in {tempfile.gettempdir()}",
        stand_in=is_stand_in(),
    )
    for other in others:
        asked.add(other.name, capability=other.capability, memory_GB=round(other.memory_bytes / 1e9, 1))


def _cucim() -> str:
    try:
        importlib.import_module("cucim.skimage.filters")
    except ImportError as error:
        return f"cannot be imported ({error})"
    found = (_version(name) for name in ("cucim-cu13", "cucim-cu12", "cucim"))
    return next((number for number in found if number != "not installed"), "version unknown")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
