"""Volumes of one series that go into one file, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.write.format import VolumeOutput
from gpustitch.model import ZYX, Box
from gpustitch.slices.model import SliceStack
from gpustitch.slices.parts.numbered import STRUCTURAL
from gpustitch.slices.verdict.judge import SPLITS
from gpustitch.slices.volume.planned import VolumePlan

# Grids are one if no corner of theirs is further apart than this part of a voxel.
_SAME = 0.01
# Splits of which the parts follow one another in time.
IN_TIME = frozenset({"time", "acquisition", "acquisition-time", "volume"})


def volumes_of_one_series(stacks: Sequence[SliceStack], split_by: Sequence[str]) -> list[SliceStack]:
    """The parts that a series was split into, in the order of the values that it was split by, if all are numbers.

    Others, such as directions of gradients, are in the order of the lowest InstanceNumber of each.

    Parameters
    ----------
    stacks
        All series, judged.
    split_by
        What they were split by.

    Returns
    -------
    Nothing if they are fewer than two, or of several series, or if a volume cannot be made of one.
    """
    found = [stack for stack in stacks if not stack.series.role]
    series = {(stack.series.key.get("StudyInstanceUID"), stack.series.key.get("SeriesInstanceUID")) for stack in found}
    if not split_by or len(found) < 2 or len(series) > 1 or not all(stack.is_usable for stack in found):
        return []
    structural = " and ".join(name for name in split_by if name in STRUCTURAL)
    names = [*(SPLITS[name] for name in split_by if name not in STRUCTURAL), *([structural] if structural else [])]
    values = [_numbers([stack.series.key.get(name, "") for name in names]) for stack in found]
    if None in values:
        values = [[_first_number(stack)] for stack in found]
    order = sorted(range(len(found)), key=lambda k: values[k] or [])
    return [found[k] for k in order]


def _numbers(texts: Sequence[str]) -> list[float] | None:
    """The texts as numbers; None if one is none."""
    try:
        return [float(text) for text in texts]
    except ValueError:
        return None


def _first_number(stack: SliceStack) -> float:
    return min((float(header.number) for header in stack.series.headers if header.number is not None), default=0.0)


def check_one_grid(volumes: Sequence[VolumePlan], names: Sequence[str]) -> None:
    """ParameterError unless volumes have the same voxels at the same places; ``names`` are those of their series."""
    first = volumes[0]
    for volume, name in zip(volumes[1:], names[1:], strict=True):
        if volume.shape != first.shape:
            why = f"{_size(volume)} voxels, not {_size(first)}"
        elif not _is_same_place(first, volume):
            why = "voxels at other places"
        else:
            continue
        raise ParameterError(
            f"{name} has {why} as {names[0]} has, so that they do not go into one file; choose one with `series`"
        )


def _size(volume: VolumePlan) -> str:
    return " x ".join(map(str, volume.shape[::-1]))


def _is_same_place(one: VolumePlan, other: VolumePlan) -> bool:
    if one.affine is None or other.affine is None:
        return one.affine is other.affine and one.spacing == other.spacing
    z, y, x = one.shape
    corners = np.array([[i, j, k, 1] for i in (0, x) for j in (0, y) for k in (0, z)], np.float64).T
    voxel_mm = np.linalg.norm(one.affine[:3, :3], axis=0).min()
    return bool(np.abs((one.affine - other.affine)[:3] @ corners).max() <= _SAME * voxel_mm)


@dataclass(frozen=True)
class OneOfSeveral:
    """A writer of the volume that begins at plane ``first`` of what ``output`` writes; it leaves that open."""

    output: VolumeOutput
    shape: ZYX
    first: int

    @property
    def block_shape(self) -> ZYX:
        """Shape of a block."""
        return self.output.block_shape

    def blocks(self) -> Iterator[Box]:
        """Slabs of whole planes."""
        yield from Box.of_shape(self.shape).blocks((min(self.block_shape[0], self.shape[0]), *self.shape[1:]))

    def write(self, box: Box, voxels: npt.NDArray[Any], release: Callable[[], None] | None = None) -> None:
        """Hand over the planes of a box."""
        self.output.write(self._moved(box), voxels, release)

    def skip(self, box: Box) -> None:
        """Say that a box holds only zeros."""
        self.output.skip(self._moved(box))

    def missing(self, box: Box) -> Iterator[Box]:
        """All of it: such files are begun anew by each run."""
        yield box

    def close(self) -> None:
        """Nothing: the file holds more volumes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def _moved(self, box: Box) -> Box:
        return Box((box.start[0] + self.first, *box.start[1:]), (box.stop[0] + self.first, *box.stop[1:]))
