"""The planes of a stack as they are compared: read ahead, without what holds no picture, even, and in register."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, handed_over, namespace, on, to_device
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.threads import ordered_map
from gpustitch.sections.similarity.banded import PIXEL_TYPES
from gpustitch.sections.similarity.binning import bin_planes
from gpustitch.sections.similarity.look import (
    LEAST_PAIRS,
    LEAST_SIDE,
    LOOK_PIXELS,
    NEXT,
    PAIRS,
    Looked,
    PairLook,
    judged,
    look,
)
from gpustitch.sections.similarity.options import SimilarityPlan
from gpustitch.sections.similarity.prepare import (
    Preparation,
    in_range,
    is_looked_for,
    less_coarse,
    preparation_lines,
    settled_preparation,
    without_no_data,
)
from gpustitch.sections.similarity.register import Registration


class ComparedPlanes:
    """The planes of a plan as they are compared, in order: read ahead by the workers, then brought into register.

    Parameters
    ----------
    plan
        The checked work.
    prepared
        What is done to planes.
    follows
        Whether the frame of planes in register follows where shifts add up along the series.

    Attributes
    ----------
    prepared
        As given.
    without
        Planes of which areas are not compared, of those that came.
    """

    def __init__(self, plan: SimilarityPlan, prepared: Preparation, *, follows: bool = True) -> None:
        self._plan, self.prepared, self._follows = plan, prepared, follows
        self._preparing = threading.Lock()  # memory for one
        self.without: list[int] = []

    def __iter__(self) -> Iterator[Array]:
        plan, prepared = self._plan, self.prepared
        starts = range(0, plan.planes.shape[0], plan.chunk)
        placed: Registration | None = None
        if prepared.register_px:
            reach = prepared.register_px
            placed = Registration(plan.shape, reach, prepared.degree, plan.max_lag, follows=self._follows)
        for chunk, without in ordered_map(self._chunk, starts, plan.n_workers, in_flight=plan.chunks_held):
            self.without += without
            if placed is not None:
                with on(plan.device), handed_over(chunk):
                    chunk = namespace(chunk).stack([placed.push(plane) for plane in chunk])
            yield chunk
            del chunk  # or it stays while the next ones are read, one more than the plan counts

    @property
    def mask(self) -> Array | None:
        """Which pixels, or blocks of them, are compared in all planes; None if planes say it by NaN, or for all."""
        plan = self._plan
        if plan.mask is None or self.prepared.computes:
            return None
        mask = plan.mask
        if plan.factors != (1, 1):
            mask = (bin_planes(plan.mask[None], plan.factors)[0] > 0).astype(np.uint8)
        return to_device(mask, plan.device)

    def tell(self, progress: Progress) -> None:
        """Say, once all planes have come, in how many areas were found that hold no picture."""
        if self.without and self.prepared.no_data == "auto":
            progress.note(
                f"areas of one value at the edge of {len(self.without)} of {self._plan.planes.shape[0]} planes: not "
                "compared (`no_data`)"
            )

    def read(self, start: int, stop: int) -> tuple[npt.NDArray[Any], list[int]]:
        """Planes read and made smaller, NaN where they hold no picture, of a type that is compared; those that do."""
        plan, no_data = self._plan, self.prepared.no_data
        read = plan.planes.read(start, stop)
        without: list[int] = []
        if no_data != "off":
            with self._preparing:
                read, has_some = without_no_data(read, no_data)
            without = [start + int(i) for i in np.flatnonzero(has_some)]
        with self._preparing:
            read = in_range(read, plan.mask)
        if plan.factors != (1, 1):
            read = np.concatenate([bin_planes(plane[None], plan.factors, plan.mask) for plane in read])
        elif read.dtype.name not in PIXEL_TYPES:
            with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and not used
                read = read.astype(np.float32)
        return read, without

    def _chunk(self, start: int) -> tuple[Array, list[int]]:
        """Planes from ``start`` on as they are compared, but for their register, on the device."""
        plan, prepared = self._plan, self.prepared
        read, without = self.read(start, min(start + plan.chunk, plan.planes.shape[0]))
        with on(plan.device):
            planes = to_device(read, plan.device) if plan.device.is_cuda else read
            if prepared.computes:
                mask = None if plan.mask is None or plan.factors != (1, 1) else to_device(plan.mask, plan.device)
                with self._preparing:
                    planes = less_coarse(planes, mask, prepared.high_pass_px, prepared.stripes)
        return planes, without


def preparation(plan: SimilarityPlan, progress: Progress = SILENT) -> Preparation:
    """What is done to planes before they are compared: asked for, or found by a look at some, and then told."""
    options = plan.options
    asked = options.high_pass, options.register
    found = _looked(plan) if is_looked_for(options.register, options.high_pass) else Looked()
    prepared = settled_preparation(plan.shape, options.no_data, *asked, found)
    for line in preparation_lines(prepared, found, *asked):
        progress.note(line)
    return prepared


def _looked(plan: SimilarityPlan) -> Looked:
    """What some pairs of neighbours show, spread over the stack; nothing of few or tiny planes."""
    n, device = plan.planes.shape[0], plan.device
    first = np.unique(np.linspace(0, n - 2, PAIRS).astype(int)).tolist()
    if min(plan.shape) < LEAST_SIDE or len(first) < LEAST_PAIRS:
        return Looked()
    factor = max(1, math.ceil(math.sqrt(math.prod(plan.shape) / LOOK_PIXELS)))
    planes = ComparedPlanes(plan, Preparation(plan.options.no_data))

    def seen(at: int) -> PairLook:
        begin, far = first[at], first[(at + len(first) // 2) % len(first)]
        parts = [(begin, min(begin + NEXT + 2, n)), (far, far + 1)]
        near, away = (_as_looked_at(plan, planes.read(*part)[0], factor) for part in parts)
        with on(device):
            near, away = to_device(near, device), to_device(away, device)
            is_far = abs(far - begin) >= n // 4
            others = [near[-1] if len(near) == NEXT + 2 else None, away[0] if is_far else None]
            return look(near[0], near[1], near[2] if len(near) > 2 else None, others)

    found = judged(list(ordered_map(seen, range(len(first)), plan.n_looking)))
    return replace(found, off_px=found.off_px * factor)


def _as_looked_at(plan: SimilarityPlan, planes: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Planes made smaller, float32, NaN where they are not compared."""
    mask = plan.mask if plan.factors == (1, 1) else None
    if factor > 1:
        return np.concatenate([bin_planes(plane[None], (factor, factor), mask) for plane in planes])
    return less_coarse(planes, mask, 0)
