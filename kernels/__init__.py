"""CUDA C bodies of the kernel twins, one file per operation, read as text by :mod:`gpustitch.array`."""

# This line tells gpustitch's own kernels from another project's folder "kernels".
OWNER = "gpustitch"
