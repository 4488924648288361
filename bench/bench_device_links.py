"""What a link of two tiles asks of a device: transfers, launches, waits. Counted, not timed; no GPU is needed.

Two tiles of tissue are linked with ``cuda`` on the stand-in for CuPy. It runs the bodies, as how far windows walk
depends on what they hold. Parts are those of a link: the overlap as a whole, the search for points, and the windows
about them.
Each function of CuPy counts as one launch, though some take several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.bench_align import NARROW, SPACING, WIDE, tiles
from bench.bench_device_counts import KINDS, MIB, OF_BYTES
from bench.common import report
from gpustitch.array import choose_device
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import ZYX
from gpustitch.oblique.align.link import link_tiles
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.points import Overlap
from gpustitch.running.threads import Workers
from tests.cuda_cpu.shim import COUNTS, installed

# Parts of a link, by the function that asks; what is left is the comparison of the overlap as a whole.
RARE = ("frees", "backs")  # what only the streaming engine waits for
WINDOWS, POINTS, WHOLE = "windows", "points", "whole"
PARTS = {("windows", "_follow"): WINDOWS, ("points", "_blobs"): POINTS}


@dataclass(frozen=True)
class Linked:
    """Counts and bytes of a link by kind and part, and the offset (z, y, x) that was found."""

    numbers: dict[tuple[str, str], int]
    n_bytes: dict[tuple[str, str], int]
    offset_px: tuple[float, float, float]


def part_of(module: str, function: str) -> str | None:
    """The part of a link that a function belongs to; None for other functions."""
    return PARTS.get((module.rpartition(".")[2], function)) or (WHOLE if function == "link_tiles" else None)


def linked(nominal: ZYX, options: MatchOptions) -> Linked:
    """One link on the stand-in, what lies between objects included."""
    first, second, _ = tiles(nominal)
    overlap = Overlap(ArrayVolume(first, SPACING), ArrayVolume(second, SPACING), nominal)
    with installed():
        workers = Workers(1, choose_device("cuda"))
        with COUNTS.counted(part_of):
            reach, rng = options.reach_px(nominal, 0.0), np.random.default_rng(0)
            link, _ = link_tiles(overlap, ("a", "b"), options, reach, rng, workers, may_move=True)
    assert not link.reason, link.reason
    return Linked(dict(COUNTS.numbers), dict(COUNTS.bytes), link.offset_px)


def rows_of(case: str, found: Linked) -> list[dict[str, Any]]:
    """A line for each part of a link."""
    rows = []
    for part in (WHOLE, POINTS, WINDOWS):
        row: dict[str, Any] = {"case": case, "part": part}
        row |= {name: found.numbers.get((kind, part), 0) for kind, name in KINDS.items() if kind not in RARE}
        row |= {name: found.n_bytes.get((kind, part), 0) / MIB for kind, name in OF_BYTES.items()}
        rows.append(row)
    return rows


def main() -> None:
    """Count links of two overlaps, with few points and many."""
    many = MatchOptions(sample_count=100)
    cases = (
        ("20 points, 21^3", WIDE, MatchOptions()),
        ("100 points, 21^3", WIDE, many),
        ("10 % overlap, 20 points", NARROW, MatchOptions()),
        ("10 % overlap, 100 points", NARROW, many),
    )
    report("device_links", [row for case, *how in cases for row in rows_of(case, linked(*how))])


if __name__ == "__main__":
    main()
