"""95 % intervals of positions hold 95 % of the truths, whatever the stage does and though some links are false."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gpustitch.model import Link, Match
from gpustitch.oblique.align.solve import solve_positions
from gpustitch.oblique.align.solving.stage_model import StageModel

GRIDS = [(1, 2, 2), (1, 3, 3), (1, 2, 6), (1, 4, 1), (2, 2, 2)]
VOXEL_UM = np.array([1.27, 1.8, 1.27])
PITCH_PX = np.array([400.0, 800.0, 700.0])
N_MOSAICS = 16
N_FORESEEN = 60


def stage_errors(model: str, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Errors of the stage in voxels: of each tile, shared by rows, growing from tile to tile, or of its scale."""
    scale_px = rng.choice([1.0, 2.0, 5.0, 10.0]) / VOXEL_UM
    n = places.max(axis=0) + 1
    own = rng.normal(size=places.shape) * scale_px
    if model == "row":
        return rng.normal(size=(n[1], 3))[places[:, 1]] * scale_px + 0.2 * own
    if model == "drift":
        x = np.where(places[:, 1] % 2, n[2] - 1 - places[:, 2], places[:, 2])
        order = (places[:, 0] * n[1] + places[:, 1]) * n[2] + x
        return order[:, None] * rng.choice([-1, 1], 3) * scale_px / 2
    return places * PITCH_PX * rng.normal(size=3) * 0.01 if model == "scale" else own


def mosaic(model: str, seed: int) -> tuple[dict, dict, list[Link]]:
    """Nominal and true positions and links: some missing, some false, those with fewer matches."""
    rng = np.random.default_rng([seed, len(model)])
    places = np.array(list(itertools.product(*map(range, GRIDS[seed % len(GRIDS)]))))
    nominal = places * PITCH_PX
    true = nominal + stage_errors(model, places, rng)
    unlinked = rng.choice(len(places), rng.integers(2), replace=False)
    links = []
    for i, j in itertools.combinations(range(len(places)), 2):
        if np.abs(places[i] - places[j]).sum() != 1 or i in unlinked or j in unlinked or rng.random() < 0.1:
            continue
        sigma = rng.uniform(0.02, 0.1, 3)
        off, n = rng.normal(0, sigma), rng.integers(5, 41)
        if rng.random() < [0, 0.05, 0.1, 0.15][seed % 4]:
            way = rng.normal(size=3)
            near = way / np.linalg.norm(way) * rng.uniform(3, 10)
            off, n = near if rng.random() < 0.3 else rng.uniform(-60, 60, 3), rng.integers(3, 9)
        z, y, x = true[j] - true[i] + off
        matches = (Match((0, 0, 0), (0.0, 0.0, 0.0), 0.99),) * int(n)
        links.append(Link(str(i), str(j), (z, y, x), (0.1,) * 3, matches, sigma_px=tuple(sigma)))
    return ({str(i): tuple(p) for i, p in enumerate(nominal)}, {str(i): p for i, p in enumerate(true)}, links)


@pytest.mark.parametrize("model", ["tile", "row", "drift", "scale"])
def test_stated_errors_are_true(model: str) -> None:
    off = []
    for seed in range(N_MOSAICS):
        nominal, true, links = mosaic(model, seed)
        placement = solve_positions(nominal, links, voxel_um=VOXEL_UM)
        error = np.array([np.subtract(placement.origin_px[n], true[n]) for n in nominal])
        sigma = np.array([placement.sigma_px[n] for n in nominal])
        off.append(np.abs(error - error.mean(axis=0)) / sigma)
    held = np.array([(part <= 1.96).mean() for part in off])
    # Tiles of a mosaic are right or wrong together: the binomial error is that of so many mosaics.
    assert held.mean() > 0.95 - 2.5 * np.sqrt(0.95 * 0.05 / N_MOSAICS)
    # Half of the errors are within 0.67 standard errors, not all: intervals are no wider than they need to be.
    assert np.median(np.concatenate(off)) > 0.3


def foreseen_errors(nominal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Errors of the stage in voxels, of scales and of a kind as likely as the model holds them."""
    stage = StageModel(nominal, VOXEL_UM)
    likely = np.exp(stage.log_prior).reshape(-1, stage.n_kinds)
    kind = rng.choice(stage.n_kinds, p=likely.sum(axis=0))
    errors = []
    for columns, of_columns, of_tile in zip(stage.columns, stage.column_variance, stage.tile_variance, strict=True):
        scale = rng.choice(len(likely), p=likely[:, kind] / likely[:, kind].sum()) * stage.n_kinds + kind
        shared = columns @ (rng.normal(size=columns.shape[1]) * np.sqrt(of_columns[scale]))
        errors.append(shared + rng.normal(size=len(nominal)) * np.sqrt(of_tile[scale]))
    return np.stack(errors, axis=1)


def foreseen_link_error(sigma: np.ndarray, n_matches: int, rng: np.random.Generator) -> np.ndarray:
    """The error of a link of so many matches: false with probability 6 / n^2, now and then worse than stated."""
    if rng.random() < min(0.5, 6 / n_matches**2):
        return rng.normal(0, np.hypot(sigma, 5.0)) if rng.random() < 0.5 else rng.uniform(-60, 60, 3)
    return rng.normal(0, np.hypot(2 * sigma, 0.5) if rng.random() < 0.01 else sigma)


def test_intervals_hold_95_percent_of_what_the_prior_foresees() -> None:
    """Of 860 mosaics 95.1 % of positions are within: where intervals hold more, a stage errs less than is foreseen."""
    held = []
    for seed in range(N_FORESEEN):
        rng = np.random.default_rng([seed, 26])
        places = np.array(list(itertools.product(*map(range, GRIDS[seed % len(GRIDS)]))))
        true = places * PITCH_PX + foreseen_errors(places * PITCH_PX, rng)
        links = []
        for i, j in itertools.combinations(range(len(places)), 2):
            if np.abs(places[i] - places[j]).sum() == 1 and rng.random() > 0.2:
                sigma, n = rng.uniform(0.02, 0.1, 3), int(rng.integers(3, 41))
                z, y, x = true[j] - true[i] + foreseen_link_error(sigma, n, rng)
                matches = (Match((0, 0, 0), (0.0, 0.0, 0.0), 0.99),) * n
                links.append(Link(str(i), str(j), (z, y, x), (0.1,) * 3, matches, sigma_px=tuple(sigma)))
        nominal = {str(i): tuple(p) for i, p in enumerate(places * PITCH_PX)}
        placement = solve_positions(nominal, links, voxel_um=VOXEL_UM)
        error = np.array([placement.origin_px[n] for n in nominal]) - true
        sigma_px = np.array([placement.sigma_px[n] for n in nominal])
        held.append((np.abs(error - error.mean(axis=0)) <= 1.96 * sigma_px).mean())
    assert abs(np.mean(held) - 0.95) < 2.5 * np.sqrt(0.95 * 0.05 / N_FORESEEN)
