"""CUDA C bodies of the kernel twins, one file per operation, read as text by :mod:`gpustitch.array`."""

# By this line gpustitch knows its own kernels from another project's folder of that name.
OWNER = "gpustitch"
