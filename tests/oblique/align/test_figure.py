"""The picture of an alignment: it can be drawn of all that a file may state, and says what is not known."""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from gpustitch.model import Link, Placement, Spacing, Support
from gpustitch.oblique.align.figure import draw_report
from gpustitch.oblique.mosaic.file import AlignmentRecord

SUPPORTS: tuple[Support, ...] = ("loop", "link", "stage")


def record(n_rows: int, n_columns: int, *, is_known: bool) -> AlignmentRecord:
    """A mosaic whose tiles are held in all ways, if that is known."""
    rng = np.random.default_rng(n_rows)
    places = {f"{n}_{m}_0": (0, 900 * m, 700 * n) for n in range(n_columns) for m in range(n_rows)}
    names = list(places)
    links = tuple(Link(a, b, (0, 0, 700), (0.1, 0.1, 0.1), ()) for a, b in itertools.pairwise(names))
    origin = {}
    for name, place in places.items():
        z, y, x = (place + rng.normal(0, 3, 3)).tolist()
        origin[name] = (z, y, x)
    sigma, support = {}, {}
    for number, name in enumerate(names if is_known else ()):
        support[name] = SUPPORTS[number % 3]
        z, y, x = (10.0 ** (number % 3 - 2) * rng.uniform(0.5, 2, 3)).tolist()
        sigma[name] = (z, y, x)
    residual = {(k.fixed, k.moving): (0.01, -0.02, 0.03) for k in links}
    return AlignmentRecord(
        placement=Placement(origin, residual, links, (), sigma, support),
        stage_um={name: (x * 1.28, y * 1.8, 0.0) for name, (_, y, x) in places.items()},
        nominal_px=places,
        spacing=Spacing(1.27, 1.8, 1.28),
        voxel_size_nominal_um=1.8,
        voxel_size_estimate_um=None,
        voxel_size_uncertainty_um=None,
        counts={},
        align_xz=True,
        negative_y=False,
    )


@pytest.mark.parametrize(("shape", "is_known"), [((1, 1), False), ((2, 3), True), ((10, 10), True)])
def test_the_picture_says_what_holds_tiles_and_what_is_not_known(
    shape: tuple[int, int], is_known: bool, tmp_path: Path
) -> None:
    mosaic, path = record(*shape, is_known=is_known), tmp_path / "report"
    with mpl.rc_context({"svg.fonttype": "none"}):
        draw_report(path, mosaic, "svg")
    text = path.read_text()
    assert text.startswith("<?xml")
    assert ("not known" in text) == (not is_known)
    for held in ("a loop of links", "links in no loop", "the stage alone"):
        assert (held in text) == is_known
    # Names are left out where there are too many to read.
    assert (">0_0_0<" in text) == (np.prod(shape) <= 60)
