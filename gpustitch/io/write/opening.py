"""One way to write a volume block by block, whatever the format."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.volumes.sidecar import Origin
from gpustitch.io.write.format import VolumeOutput, Writing
from gpustitch.io.write.formats import check_takes, format_for
from gpustitch.io.write.pyramid_layout import triple
from gpustitch.model import Spacing
from gpustitch.model.arrays import Floats

_log = logging.getLogger(__name__)
_FARTHEST_UM = 1e12  # a kilometre of kilometres: no specimen lies there
# What only some formats take.
_TAKEN = (
    "levels", "chunk_shape", "shard_bytes", "version", "codec", "writer", "compression", "flush", "write_empty",
    "samples", "n_volumes",
)  # fmt: skip


def open_output(
    path: str | Path,
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    spacing: Spacing,
    *,
    format: str | None = None,
    **how: Any,
) -> VolumeOutput:
    """As :func:`open_as`; ``how`` are the values of :class:`gpustitch.io.write.format.Writing`."""
    return open_as(path, shape, dtype, spacing, Writing(**how), format=format)


def open_as(
    path: str | Path,
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    spacing: Spacing,
    writing: Writing,
    *,
    format: str | None = None,
) -> VolumeOutput:
    """A writer of a volume in the format that the name of ``path``, or ``format``, asks for.

    Parameters
    ----------
    path
        File or folder to create.
    shape, dtype, spacing
        The volume at full resolution (z, y, x). All formats hold uint8, uint16, int16, uint32 and float32.
    writing
        How it is written.
    format
        Name in :data:`OUTPUT_FORMATS`; None for the format that the name of ``path`` asks for (:func:`format_of`).

    Raises
    ------
    ParameterError
        If a parameter is out of range or the format lacks it.
    OutputExistsError, OutputError
        If ``path`` exists or cannot be created.
    """
    chosen = format_for(path, format)
    check_takes(chosen, {name: getattr(writing, name) for name in _TAKEN})
    chunk = writing.chunk_shape
    settled = dataclasses.replace(
        writing,
        levels=chosen.default_levels if writing.levels is None else writing.levels,
        chunk_shape=chosen.default_chunk if chunk is None else triple(chunk, "chunk_shape"),
        origin_um=checked_origin(writing.origin_um, writing.affine_lps_mm),
    )
    _log.debug("%s will be %s: %s, %s", path, chosen.title, tuple(shape), np.dtype(dtype))
    return chosen.open(Path(path), triple(shape, "shape"), np.dtype(dtype), spacing, settled)


def checked_origin(origin_um: Sequence[float] | None, affine_lps_mm: Floats | None = None) -> Origin | None:
    """Three finite numbers, or None; ParameterError for others, and beside a matrix that says the same."""
    if origin_um is None:
        return None
    if affine_lps_mm is not None:
        raise ParameterError("`affine_lps_mm` says where the first voxel is; leave out `origin_um`, or the matrix")
    try:
        z, y, x = (float(value) for value in origin_um)
    except (TypeError, ValueError):
        raise ParameterError(f"`origin_um` must be three numbers (z, y, x), not {origin_um!r:.60}") from None
    if not all(abs(value) < _FARTHEST_UM for value in (z, y, x)):
        raise ParameterError(f"`origin_um` must be three finite numbers (z, y, x), not {(z, y, x)}")
    return z, y, x
