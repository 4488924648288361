"""The array layer: which library owns an array, moves between devices, and the kernel twins.

The only room that imports CuPy or cuCIM.
"""

from gpustitch.array.device import (
    CPU,
    CudaDevice,
    Device,
    choose_device,
    choose_devices,
    cpu_count,
    cuda_devices,
    leave_memory,
)
from gpustitch.array.kernel import Kernel, kernel, kernels
from gpustitch.array.namespace import Array, library_of, namespace, refuse_unlike, scipy_of, skimage_of
from gpustitch.array.transfer import (
    empty,
    fetched,
    handed_over,
    host_room,
    on,
    resident,
    sent,
    to_device,
    to_host,
    to_pageable,
)

__all__ = [
    "CPU",
    "Array",
    "CudaDevice",
    "Device",
    "Kernel",
    "choose_device",
    "choose_devices",
    "cpu_count",
    "cuda_devices",
    "empty",
    "fetched",
    "handed_over",
    "host_room",
    "kernel",
    "kernels",
    "leave_memory",
    "library_of",
    "namespace",
    "on",
    "refuse_unlike",
    "resident",
    "scipy_of",
    "sent",
    "skimage_of",
    "to_device",
    "to_host",
    "to_pageable",
]
