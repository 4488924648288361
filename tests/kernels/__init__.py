"""CUDA bodies against the definitions of their twins."""
