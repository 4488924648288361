"""Arguments that each twin is tried with: a module for each file in ``kernels/``, holding ``CASES``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from tests.kernels.case import Case


def all_cases() -> Mapping[str, list[Case]]:
    """The cases of every module, by the module's name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: list(importlib.import_module(f"{__name__}.{name}").CASES) for name in names}
