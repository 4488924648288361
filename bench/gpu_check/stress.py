"""Step: `similarity` of many small chunks against the CPU, many times: streams that do not wait would show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.gpu_check.step import Asked, device_of
from gpustitch.array import CPU
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.sections.similarity import stage as similarity
from gpustitch.sections.similarity.options import SimilarityOptions

RUNS, SMALL_RUNS = 20, 1
SHAPE, SMALL_SHAPE = (300, 96, 96), (24, 32, 32)
MOST_APART = 1e-4
# As they are, and with what is looked for and done to planes before they are compared.
SETTINGS: dict[str, dict[str, Any]] = {
    "planes as they are": {"register": "off", "no_data": "off", "high_pass": "off"},
    "planes prepared": {"register": "off", "no_data": "auto", "high_pass": 9},
}


def stress(asked: Asked) -> None:
    """A row for each setting: how many runs differ from the CPU's result, and by how much at most."""
    _, device = device_of()
    shape, n_runs = (SMALL_SHAPE, SMALL_RUNS) if asked.is_small else (SHAPE, RUNS)
    rng = np.random.default_rng(0)
    planes = ArrayPlanes(
        (rng.integers(0, 4000, shape[1:]) + rng.integers(0, 2000, shape)).astype(np.uint16), "planes in memory"
    )
    n_wrong = 0
    for what, setting in SETTINGS.items():
        options = SimilarityOptions(
            Path("planes"), planes=planes, max_lag=5, chunk=4, device=CPU, n_workers=8, **setting
        )
        expected = similarity.run(similarity.plan(options)).half_strip
        apart = []
        for _ in range(n_runs):
            found = similarity.run(similarity.plan(replace(options, device=device))).half_strip
            same_gaps = np.array_equal(np.isnan(found), np.isnan(expected))
            apart.append(float(np.nanmax(np.abs(found - expected))) if same_gaps else float("inf"))
        wrong = sum(difference > MOST_APART for difference in apart)
        asked.add(what, runs=n_runs, wrong=wrong, most_apart=max(apart), allowed=MOST_APART)
        n_wrong += wrong
    if n_wrong:
        raise AssertionError(
            f"{n_wrong} of {n_runs * len(SETTINGS)} runs differ from the CPU by more than {MOST_APART}"
        )
