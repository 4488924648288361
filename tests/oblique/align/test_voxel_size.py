from __future__ import annotations

import numpy as np
import pytest

from gpustitch.model import Link, Match
from gpustitch.oblique.align.voxel_size import estimate_voxel_size

STEP, ANGLE = 1.28, 45.0


def mosaic(
    true_um: float, stage_error_um: float, shape: tuple[int, int] = (2, 2), seed: int = 0
) -> tuple[list[Link], dict]:
    """Links and stage positions of tiles 400 um apart in x and 700 um in y."""
    rng = np.random.default_rng(seed)
    stage = {f"{i}{j}": (400.0 * i, 700.0 * j, 0.0) for i in range(shape[0]) for j in range(shape[1])}
    true = {n: np.array(s) + rng.uniform(-stage_error_um, stage_error_um, 3) for n, s in stage.items()}
    spacing = np.array([true_um * np.sin(np.radians(ANGLE)), true_um, STEP])
    links = []
    for a in stage:
        for b in stage:
            if (a[0] == b[0] and int(b[1]) == int(a[1]) + 1) or (a[1] == b[1] and int(b[0]) == int(a[0]) + 1):
                offset = (true[b] - true[a])[::-1] / spacing
                noise = rng.normal(0, 0.05, (15, 3))
                matches = tuple(Match((0, 0, 0), tuple((-offset + n).tolist()), 0.99) for n in noise)
                links.append(Link(a, b, tuple(offset.tolist()), (0.05,) * 3, matches))
    return links, stage


@pytest.mark.parametrize("error", [-0.01, 0.0, 0.01])
def test_within_a_five_hundredth_with_an_exact_stage(error: float) -> None:
    links, stage = mosaic(1.8 / (1 + error), 0.0)
    size = estimate_voxel_size(links, stage, 1.8, STEP, ANGLE)
    assert size.estimate_um == pytest.approx(1.8 / (1 + error), rel=2e-3)
    assert size.is_significant == (error != 0)
    assert size.used_um == (size.estimate_um if error else 1.8)


@pytest.mark.parametrize("shape", [(1, 2), (2, 2), (2, 3), (3, 4)])
def test_stated_uncertainty_holds_with_a_wrong_stage(shape: tuple[int, int]) -> None:
    inside, stated = [], []
    for seed in range(200):
        links, stage = mosaic(1.782, 5.0, shape, seed)
        size = estimate_voxel_size(links, stage, 1.8, STEP, ANGLE)
        assert size.estimate_um is not None and size.uncertainty_um is not None
        inside.append(abs(size.estimate_um - 1.782) <= size.uncertainty_um)
        stated.append(size.uncertainty_um)
    assert np.mean(inside) >= 0.93
    assert np.median(stated) < {(1, 2): 0.1, (2, 2): 0.035, (2, 3): 0.03, (3, 4): 0.015}[shape]


def test_false_matches_do_not_move_it() -> None:
    links, stage = mosaic(1.782, 0.0)
    broken = [
        Link(
            k.fixed, k.moving, k.offset_px, k.scatter_px, (*k.matches, Match((0, 16, 0), k.matches[0].moving_px, 0.96))
        )
        for k in links
    ]
    assert estimate_voxel_size(broken, stage, 1.8, STEP, ANGLE).estimate_um == pytest.approx(1.782, rel=1e-3)


def test_rejected_links_do_not_count() -> None:
    links, stage = mosaic(1.782, 0.0)
    rejected = [Link(k.fixed, k.moving, k.offset_px, k.scatter_px, k.matches, "no") for k in links]
    size = estimate_voxel_size(rejected, stage, 1.8, STEP, ANGLE)
    assert (size.estimate_um, size.uncertainty_um, size.n_links, size.used_um) == (None, None, 0, 1.8)


def test_no_link_along_y() -> None:
    links, stage = mosaic(1.782, 0.0, (3, 1))
    assert estimate_voxel_size(links, stage, 1.8, STEP, ANGLE).estimate_um is None
