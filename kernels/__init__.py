"""CUDA C bodies of the kernel twins, one file per operation, read as text by :mod:`gpustitch.array`."""
