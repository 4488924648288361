"""Choosing the device that arrays live on, once."""

from __future__ import annotations

import importlib
import os
import re
from dataclasses import dataclass, replace

from gpustitch.array.namespace import EXTRAS
from gpustitch.array.sources import own_folder
from gpustitch.errors import DeviceError, ParameterError

# For each device: the limit of CuPy's pool that a caller had set, and the one that was set in its place.
_limits: dict[int, tuple[int, int]] = {}


def cpu_count() -> int:
    """Number of CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Device:
    """Where arrays live: the host (``index`` None) or CUDA device ``index``; ``why`` is one line to show.

    ``memory_bytes`` is the most of a CUDA device's memory that may be taken; None if it is not known. ``others`` are
    further devices, for processes that share the work.
    """

    index: int | None
    why: str
    memory_bytes: int | None = None
    others: tuple[int, ...] = ()

    @property
    def is_cuda(self) -> bool:
        """Whether this is a CUDA device."""
        return self.index is not None

    def __str__(self) -> str:
        """The name by which the device is chosen: cpu, or cuda:N, with others after a comma."""
        return "cpu" if self.index is None else ",".join(f"cuda:{index}" for index in (self.index, *self.others))

    def environments(self) -> tuple[dict[str, str], ...]:
        """For a process of each device what its environment must have: there the device has this one's number."""
        if self.index is None or not self.others:
            return ()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = [str(n) for n in range(max(self.index, *self.others) + 1)] if visible is None else visible.split(",")
        orders = []
        for other in (self.index, *self.others):
            order = [*names]
            order[self.index], order[other] = names[other], names[self.index]
            orders.append({"CUDA_VISIBLE_DEVICES": ",".join(order)})
        return tuple(orders)


@dataclass(frozen=True)
class CudaDevice:
    """A CUDA device that was found: its name, memory and compute capability."""

    index: int
    name: str
    memory_bytes: int
    capability: str


def cuda_devices() -> tuple[list[CudaDevice], str]:
    """CUDA devices that CuPy can use, and the reason if there are none."""
    try:
        runtime = importlib.import_module("cupy").cuda.runtime
    except ImportError:
        return [], f"CuPy is not installed ({EXTRAS})"
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


def choose_device(spec: str | Device = "auto", memory_bytes: int | None = None) -> Device:
    """Take the device that ``spec`` (``auto``, ``cpu``, ``cuda`` or ``cuda:N``) names.

    Parameters
    ----------
    spec
        ``auto`` is the first CUDA device, or the host where there is none. A :class:`Device` is returned unchanged.
    memory_bytes
        Most of a CUDA device's memory that arrays may take, in bytes; None for all of it. A lower limit that a caller
        has set on CuPy's pool of memory stays.

    Raises
    ------
    ParameterError
        If ``spec`` is no such name, or ``memory_bytes`` is less than one.
    DeviceError
        If ``spec`` names a CUDA device that cannot be used; the text says what was found.
    """
    if isinstance(spec, Device):
        return spec
    kind, index = _kind_and_index(spec)
    if memory_bytes is not None and memory_bytes < 1:
        raise ParameterError(f"`device_memory_bytes` must be at least one byte, not {memory_bytes}")
    if kind == "cpu":
        return CPU
    devices, reason = _usable_devices()
    if index < len(devices):
        return _limited(devices[index], memory_bytes)
    if kind == "auto":
        return Device(None, f"cpu: {reason}")
    raise DeviceError(f"`device` {spec} cannot be used: " + (reason or f"there are {len(devices)} CUDA devices"))


def _kind_and_index(spec: str) -> tuple[str, int]:
    """``auto``, ``cpu`` or ``cuda``, and the number of the CUDA device; ParameterError for another name."""
    if "," in spec:
        raise ParameterError(f"`device` {spec}: one device computes here; give one of them")
    match = re.fullmatch(r"(auto|cpu|cuda)|cuda:(\d+)", spec)
    if match is None:
        raise ParameterError(f"`device` is auto, cpu, cuda or cuda:N, not {spec!r}")
    return match[1] or "cuda", int(match[2] or 0)


def _limited(found: CudaDevice, memory_bytes: int | None) -> Device:
    """A CUDA device of which no more than ``memory_bytes`` are taken; None for all."""
    most = _limit_memory(found.index, memory_bytes) or found.memory_bytes
    return Device(found.index, f"cuda:{found.index}: {found.name}", min(most, found.memory_bytes))


def choose_devices(spec: str | Device = "auto", memory_bytes: int | None = None) -> Device:
    """Take a device as :func:`choose_device` does, or the first of several, such as ``cuda:0,cuda:1``, with the others.

    Raises
    ------
    ParameterError, DeviceError
        As in :func:`choose_device`; also if several are not different CUDA devices.
    """
    if isinstance(spec, Device) or "," not in spec:
        return choose_device(spec, memory_bytes)
    names = [name.strip() for name in spec.split(",")]
    if not all(re.fullmatch(r"cuda:\d+", name) for name in names) or len(set(names)) < len(names):
        raise ParameterError(f"several of `device` are different ones of cuda:N, such as cuda:0,cuda:1, not {spec!r}")
    first, *others = (choose_device(name, memory_bytes) for name in names)
    why = "; ".join(device.why for device in (first, *others))
    return replace(first, why=why, others=tuple(device.index for device in others if device.index is not None))


def leave_memory(device: Device) -> None:
    """Give back what CuPy keeps of a CUDA device's freed memory, for another process."""
    if device.is_cuda:
        cupy = importlib.import_module("cupy")
        with cupy.cuda.Device(device.index):
            cupy.get_default_memory_pool().free_all_blocks()


CPU = Device(None, "cpu: as asked")


def said_by_cuda(error: RuntimeError) -> str:
    """What CuPy or a library of CUDA says, in one line, and what to do; empty for an error of anything else."""
    text = " ".join(str(error).split())
    # CuPy loads NVRTC when it first compiles, and has no class for its absence.
    if text.startswith("CuPy failed to load"):
        return f"{text}; {EXTRAS} brings CUDA's libraries"
    # The runtime, the driver (CuPy's own kernels), cuBLAS and cuFFT each raise a class of their own.
    return text if type(error).__module__.partition(".")[0] in ("cupy", "cupy_backends") else ""


def _usable_devices() -> tuple[list[CudaDevice], str]:
    """CUDA devices, and the reason if there are none; without gpustitch's bodies no device is usable."""
    devices, reason = cuda_devices()
    if not devices:
        return [], reason
    try:
        own_folder()
    except DeviceError as error:
        return [], str(error)
    return devices, ""


def _limit_memory(index: int, memory_bytes: int | None) -> int:
    """Limit CuPy's pool, and lift a limit set here before; the limit in bytes, 0 for none."""
    cupy = importlib.import_module("cupy")
    with cupy.cuda.Device(index):
        pool = cupy.get_default_memory_pool()
        there = int(pool.get_limit())
        of_caller, set_here = _limits.get(index, (there, there))
        of_caller = of_caller if there == set_here else there
        limit = min((n for n in (of_caller, memory_bytes) if n), default=0)
        if limit != there:
            pool.set_limit(size=limit)
    _limits[index] = (of_caller, limit)
    return limit
