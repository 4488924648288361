"""GPU-accelerated stitching, destriping and scaling of oblique light-sheet acquisitions."""

from gpustitch.version import VERSION as __version__

__all__ = ["__version__"]
