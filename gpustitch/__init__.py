"""GPU-accelerated stitching, destriping and scaling of oblique light-sheet acquisitions."""

from importlib.metadata import version

__version__ = version("gpustitch")
