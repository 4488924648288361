"""Arguments that each twin is tried with: a module for each file in ``kernels/``, holding ``CASES``."""
