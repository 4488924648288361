"""The array layer: which library owns an array, moves between devices, and the kernel twins.

The only room that imports CuPy or cuCIM.
"""

from gpustitch.array.device import CudaDevice, Device, choose_device, cuda_devices, to_device, to_host
from gpustitch.array.kernel import Kernel, kernel, kernels
from gpustitch.array.namespace import Array, library_of, namespace, scipy_of, skimage_of

__all__ = [
    "Array",
    "CudaDevice",
    "Device",
    "Kernel",
    "choose_device",
    "cuda_devices",
    "kernel",
    "kernels",
    "library_of",
    "namespace",
    "scipy_of",
    "skimage_of",
    "to_device",
    "to_host",
]
