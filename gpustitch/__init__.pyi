from gpustitch.array import choose_device as choose_device
from gpustitch.array import to_device as to_device
from gpustitch.array import to_host as to_host
from gpustitch.errors import GpustitchError as GpustitchError
from gpustitch.errors import GpustitchWarning as GpustitchWarning
from gpustitch.model import Box as Box
from gpustitch.model import ObliqueScan as ObliqueScan
from gpustitch.model import Spacing as Spacing
from gpustitch.oblique.deskew.tile import ObliqueTile as ObliqueTile
from gpustitch.oblique.destripe.correction import Correction as Correction
from gpustitch.verbs.frames import deskew as deskew
from gpustitch.verbs.frames import destripe as destripe
from gpustitch.verbs.frames import flat_field as flat_field
from gpustitch.verbs.opening import open_frames as open_frames
from gpustitch.verbs.opening import open_planes as open_planes
from gpustitch.verbs.opening import open_volume as open_volume
from gpustitch.verbs.sections import find_faults as find_faults
from gpustitch.verbs.sections import render as render
from gpustitch.verbs.sections import similarity as similarity
from gpustitch.verbs.sections import z_positions as z_positions
from gpustitch.verbs.slices import judge as judge
from gpustitch.verbs.slices import resample_slices as resample_slices
from gpustitch.verbs.tiles import align as align
from gpustitch.verbs.tiles import pipeline as pipeline
from gpustitch.verbs.tiles import stitch as stitch
from gpustitch.verbs.volumes import downsample as downsample
from gpustitch.verbs.volumes import open_output as open_output
from gpustitch.verbs.volumes import write as write

__all__ = [
    "Box",
    "Correction",
    "GpustitchError",
    "GpustitchWarning",
    "ObliqueScan",
    "ObliqueTile",
    "Spacing",
    "__version__",
    "align",
    "choose_device",
    "deskew",
    "destripe",
    "downsample",
    "find_faults",
    "flat_field",
    "judge",
    "open_frames",
    "open_output",
    "open_planes",
    "open_volume",
    "pipeline",
    "render",
    "resample_slices",
    "similarity",
    "stitch",
    "to_device",
    "to_host",
    "write",
    "z_positions",
]

__version__: str
