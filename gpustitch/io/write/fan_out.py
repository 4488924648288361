"""A volume written in several formats in one pass: each block goes to all of their writers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.write.files.closing import Closing
from gpustitch.io.write.in_flight import Handed
from gpustitch.io.write.pyramid_layout import coarser
from gpustitch.io.write.pyramid_writer import PyramidWriter
from gpustitch.model import ZYX, Box


class FanOut(Closing):
    """Several writers of one volume, as one (:class:`gpustitch.io.write.format.VolumeOutput`).

    Levels are reduced once for all. A block that one of them has from an earlier run is given to the others alone.

    Parameters
    ----------
    outputs
        Writers of the same shape, blocks and levels; at least one.

    Raises
    ------
    ParameterError
        If they differ.
    """

    def __init__(self, outputs: Sequence[PyramidWriter]) -> None:
        self._outputs = tuple(outputs)
        first = self._outputs[0]
        self.shape: ZYX = first.shape
        self.block_shape: ZYX = first.block_shape
        for other in self._outputs[1:]:
            if (other.shape, other.block_shape, other.factors, other.dtype) != (
                first.shape, first.block_shape, first.factors, first.dtype,
            ):  # fmt: skip
                raise ParameterError(
                    f"{other.path} has other blocks, levels or voxels than {first.path}; only alike volumes are "
                    "written together"
                )
        self._stack = contextlib.ExitStack()
        for output in reversed(self._outputs):
            self._stack.push(output)

    def blocks(self) -> Iterator[Box]:
        """All blocks, in an order that completes coarse chunks soon."""
        return self._outputs[0].blocks()

    def go_on(self) -> None:
        """Take over the files that the journal knows; call it before any block is given."""
        for output in self._outputs:
            output.go_on()

    def missing(self, box: Box) -> Iterator[Box]:
        """The parts of a box of whole blocks that any of the writers lacks; few large ones."""
        found = [list(output.missing(box)) for output in self._outputs]
        if [box] in found:
            yield box
        elif any(found):
            for block in box.blocks(self.block_shape):
                if any(any(output.missing(block)) for output in self._outputs):
                    yield block

    def write(self, box: Box, voxels: npt.NDArray[Any], release: Callable[[], None] | None = None) -> None:
        """Hand over the voxels of a box of whole blocks to all writers that lack them.

        The caller must not change the array before ``release`` is called (from any thread); never without ``release``.

        Raises
        ------
        ParameterError
            If the box does not consist of whole blocks, was given before, or does not fit the array.
        OutputError
            If an earlier write failed.
        """
        self.write_levels(box, self.reduced(voxels), release)

    def reduced(self, voxels: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """The voxels of a box of whole blocks on all levels, fine to coarse."""
        return self._outputs[0].reduced(voxels)

    def write_levels(
        self, box: Box, levels: Sequence[npt.NDArray[Any]], release: Callable[[], None] | None = None
    ) -> None:
        """Like :meth:`write`, with voxels that are :meth:`reduced` already."""
        parts = [(output, part) for output in self._outputs for part in output.missing(box)]
        if not parts:
            raise ParameterError(f"{self._outputs[0].path}: blocks of {box} were written before")
        # One more than there are parts: what is handed over here must not end before all of it is.
        left = Handed(len(parts) + 1, lambda _: None if release is None else release())
        for output, part in parts:
            of_part = levels
            if part != box:
                boxes = ((coarser(part, factor), coarser(box, factor)) for factor in self._outputs[0].factors)
                of_part = [
                    of_level[small.slices(large.start)] for of_level, (small, large) in zip(levels, boxes, strict=True)
                ]
            output.write_levels(part, of_part, left.one if release is not None else None)
        left.one()

    def skip(self, box: Box) -> None:
        """Say that a box of whole blocks holds only zeros."""
        for output in self._outputs:
            for part in output.missing(box):
                output.skip(part)

    def _end(self, error: BaseException | None) -> None:
        # All that there is to write, each writer writes as it leaves.
        if error is not None:
            raise error
