"""Golden cases of z-spacing: what Fiji's plugin made of synthetic series, and the parameters it was run with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.band import band_of
from gpustitch.sections.positions.compat import compat_steps
from tests.paths import DATA

FOLDER = DATA / "zspacing"
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))


@dataclass(frozen=True)
class Golden:
    """A case: similarities, parameters, optional inputs, and the plugin's results at ``iterations``."""

    similarity: Any
    options: EstimateOptions
    starting_coordinates: Any
    starting_factors: Any
    pair_weights: Any
    truth: Any
    iterations: list[int]
    positions: Any
    factors: Any
    orders: Any
    curves: Any

    def steps(self):
        """Updates of the compatible estimator."""
        n, max_lag = len(self.truth), self.options.max_lag
        start = np.arange(n) * 1.0 if self.starting_coordinates is None else self.starting_coordinates
        factors = np.ones(n) if self.starting_factors is None else self.starting_factors
        band = band_of(self.similarity, max_lag)
        return compat_steps(band, self.options, start, factors, np.ones(n), self.pair_weights)


def golden(name: str) -> Golden:
    """A case by its name."""
    with np.load(FOLDER / f"{name}.npz") as data:
        given = json.loads(str(data["options"]))
        n, radius = int(data["n"]), given["estimateWindowRadius"]
        options = EstimateOptions(
            max_lag=given["comparisonRange"],
            outer_iterations=given["nIterations"],
            outer_regularization=1 - given["shiftProportion"],
            inner_iterations=given["scalingFactorEstimationIterations"],
            inner_regularization=given["scalingFactorRegularizerWeight"],
            allow_reordering=given["withReorder"],
            force_monotonicity=given["forceMonotonicity"],
            minimum_section_thickness=given["minimumSectionThickness"],
            minimum_correlation=given["minimumCorrelationValue"],
            coordinate_regularizer=given["coordinateUpdateRegularizerWeight"],
            regularization=given["regularizationType"].lower(),
            local_estimates=1 if radius < 1 else n // radius,
            compat=True,
        )
        fits = data["fits"]
        return Golden(
            similarity=data["half_strip"] if "half_strip" in data else data["matrix"],
            options=options,
            starting_coordinates=data.get("start"),
            starting_factors=data.get("scaling"),
            pair_weights=data.get("estimateWeights"),
            truth=data["truth"],
            iterations=[int(k) for k in data["iterations"]],
            positions=data["coords"],
            factors=data["scaling_factors"],
            orders=data["permutation"],
            curves=fits if fits.ndim == 3 else fits[:, None],
        )


def rms_error(positions, truth, spacing=False):
    """RMS distance to the truth after the best affine map, of positions or of the spacing of true neighbours."""
    slope, offset = np.polyfit(positions, truth, 1)
    difference = slope * positions + offset - truth
    if spacing:
        difference = np.diff(difference[np.argsort(truth, kind="stable")])
    return float(np.sqrt(np.mean(difference**2)))
