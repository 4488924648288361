"""GPU-accelerated stitching, destriping and scaling of oblique light-sheet acquisitions.

``import gpustitch as gs`` loads a name when it is first asked for; ``__init__.pyi`` lists them.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

from gpustitch.version import VERSION as __version__

# Where each public name lives.
_HOMES = {
    "gpustitch.verbs.opening": ("open_frames", "open_planes", "open_volume"),
    "gpustitch.verbs.frames": ("flat_field", "destripe", "deskew"),
    "gpustitch.verbs.tiles": ("align", "stitch", "pipeline"),
    "gpustitch.verbs.sections": ("similarity", "z_positions", "find_faults", "render"),
    "gpustitch.verbs.slices": ("judge", "resample_slices"),
    "gpustitch.verbs.volumes": ("downsample", "open_output", "write"),
    "gpustitch.model": ("Box", "Spacing", "ObliqueScan"),
    "gpustitch.oblique.deskew.tile": ("ObliqueTile",),
    "gpustitch.oblique.destripe.correction": ("Correction",),
    "gpustitch.array": ("choose_device", "to_device", "to_host"),
    "gpustitch.errors": ("GpustitchError", "GpustitchWarning"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

# What is logged is shown only where the caller asks for it, by :mod:`logging`.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'gpustitch' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_HOME_OF[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
