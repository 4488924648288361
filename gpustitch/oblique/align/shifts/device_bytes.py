"""Device memory of comparing whole overlaps at every shift: :mod:`gpustitch.array.stated`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpustitch.array.stated import Shaped, states
from gpustitch.model import ZYX
from gpustitch.oblique.align.shifts.images import Layout, Tables, images_shared, smoothed_strips
from gpustitch.oblique.align.shifts.shared_sums import SUMS

# What there is of each image beside its sums: what is kept, its largest, and the maps.
_OF_IMAGE = 8


@states(smoothed_strips)
def smoothed_strips_bytes(
    voxels: Shaped,
    places: Shaped,
    binning: ZYX,
    weights: Shaped,
    divisors: Shaped,
    gaussians: Sequence[Shaped],
    layout: Layout,
    tables: Tables[Shaped],
) -> int:
    """Bins, two Gaussians of them and room for these; with weights also masks, and what quotients take."""
    rows = 2 + weights.shape[0]
    return 4 * layout.room * (4 * rows + 9 * (rows > 2))


@states(images_shared)
def images_shared_bytes(
    values: Shaped, masks: Shaped, divisors: Shaped, layout: Layout, tables: Tables[Shaped], at_once: int
) -> int:
    """Arrays without levels, spectra, sums over boxes, products of images and their transforms, and all sums.

    A transform makes another spectrum, and takes as much room as one.
    """
    z, y, x = layout.padded
    spectrum, volume = 8 * z * y * (x // 2 + 1), 4 * z * y * x
    of_spectra = 3 if layout.is_masked else 1
    arrays = 4 * layout.room * (2 + (of_spectra + 1) * (layout.is_masked + 1))
    steps = [32 * max(math.prod(shape) for shape in layout.summed(done)) for done in (1, 2, 3)]
    boxes, sums = (0, 0) if layout.is_masked else (max(steps[0] + steps[1], steps[1] + steps[2]), steps[2])
    images, n = tables.mirrors.shape[0], min(at_once, tables.mirrors.shape[0]) * len(layout.pairs)
    transformed = n * (2 * spectrum + volume)
    of_images = 8 * (SUMS + _OF_IMAGE) * images * math.prod(layout.counts)
    transforms = 2 * of_spectra * spectrum + of_spectra * (2 * spectrum + volume)
    return max(
        arrays + max(transforms, 2 * of_spectra * spectrum + boxes),
        2 * of_spectra * spectrum + sums + transformed + of_images,
    )
