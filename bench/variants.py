"""The texts that the launcher compiles: every file of bodies with every combination of its types."""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass

import gpustitch
from bench import nvrtc
from gpustitch.array import Kernel, kernels
from gpustitch.array.body import C_TYPES
from gpustitch.array.launch import OPTIONS, launched_text

_DTYPES = {c_type: dtype for dtype, c_type in C_TYPES.items()}
# What CuPy adds to the launcher's options.
OF_CUPY = ("-ftz=true",)
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)


@dataclass(frozen=True)
class Variant:
    """A file of bodies with types for its names such as ``T``, and the twins launched with these types."""

    source: str
    names: tuple[tuple[str, str], ...]
    twins: tuple[str, ...]

    @property
    def types(self) -> str:
        """The types as a short text."""
        return " ".join(f"{name}={_DTYPES[c_type]}" for name, c_type in self.names)


def twins() -> Mapping[str, Kernel]:
    """All twins of the package; every module is imported first."""
    for module in pkgutil.walk_packages(gpustitch.__path__, "gpustitch."):
        importlib.import_module(module.name)
    return {name: twin for name, twin in kernels().items() if twin.definition.__module__.startswith("gpustitch.")}


def threads(name: str) -> int:
    """Number of threads in a twin's block."""
    return math.prod(twins()[name].grid.threads)


def variants(source: str) -> list[Variant]:
    """The variants of one file with which twins are launched."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, twin in twins().items():
        if twin.source == source and twin.has_cuda_body:
            types_of = sorted(twin.grid.types.items())
            choices = [[(type_name, C_TYPES[dtype]) for dtype in dtypes] for type_name, (_, dtypes) in types_of]
            for combination in itertools.product(*choices):
                found.setdefault(combination, []).append(name)
    return [Variant(source, names, tuple(bodies)) for names, bodies in sorted(found.items())]


def program(variant: Variant) -> tuple[str, tuple[str, ...]]:
    """Text and options that the launcher gives to CuPy, and CuPy to the compiler."""
    return launched_text(variant.source, dict(variant.names)), (*OPTIONS, *OF_CUPY)


def compiled(variant: Variant, architecture: int) -> nvrtc.Compiled:
    """The variant compiled by NVRTC; variants with the same text are compiled once."""
    return _compiled(*program(variant), architecture)


def translated(variant: Variant, architecture: int) -> list[str]:
    """Warnings of NVRTC as it makes the variant's PTX."""
    return nvrtc.translate_text(*program(variant), architecture)


@functools.lru_cache(maxsize=1024)
def _compiled(text: str, options: tuple[str, ...], architecture: int) -> nvrtc.Compiled:
    return nvrtc.compile_text(text, options, architecture)
