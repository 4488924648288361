"""Step: the small demo, from camera files to a volume that is measured against its truth."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from bench.gpu_check.step import Asked, device_of
from gpustitch.demo import brain
from gpustitch.demo.phantom.stage import SIZES


def demo(asked: Asked) -> None:
    """A row for each figure of the demo, and one for the seconds of each part."""
    _, device = device_of()
    spec = brain.spec_of("small")
    if asked.is_small:  # it runs; these are too few voxels to meet the targets
        spec = replace(SIZES["tiny"], grid=(1, 2, 1))
    with tempfile.TemporaryDirectory(prefix="gpu-check-demo-") as folder:
        result = brain.run(brain.plan(brain.DemoOptions(Path(folder), spec, device=device)))
    for part, seconds in result.seconds.items():
        asked.add(f"time: {part}", {"s": seconds})
    for figure in result.evaluation.figures:
        asked.add(figure.name, value=figure.value, passed=figure.passed)
    if not (result.evaluation.passed or asked.is_small):
        failed = [figure.name for figure in result.evaluation.figures if figure.passed is False]
        raise AssertionError(f"the demo fails on {', '.join(failed)}")
