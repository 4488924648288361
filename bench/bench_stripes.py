"""How near destriping that frames choose comes to the truth: cells, halos, tissue and stripes of drawn scenes.

``python -m bench.bench_stripes --scenes 80 --first 5000`` draws other scenes than the default, ``--each`` prints every
one that misses an aim, and ``--command`` goes through files and the command line.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from bench.common import report
from bench.striped_scenes import (
    AIMS,
    DARK,
    FORMER,
    Outcome,
    Truth,
    best_linear,
    frames_of,
    spec_of,
    without_destriping,
)
from gpustitch.array import choose_device
from gpustitch.cli.main import app
from gpustitch.model.arrays import HostArray
from gpustitch.oblique.destripe.options import DestripeOptions
from gpustitch.oblique.destripe.sampled import judged

FIRST, SCENES = 3000, 40
_Frames = list[HostArray]
# Corrects frames: returns light in counts, whether they are left as they are, and what was warned of.
_Way = Callable[[_Frames], tuple[_Frames, bool, tuple[str, ...]]]


def chosen(frames: _Frames) -> tuple[_Frames, bool, tuple[str, ...]]:
    """Correct frames as ``destripe --auto`` does, by the function that it calls."""
    default = replace(DestripeOptions(input=Path()).correction, dark=DARK)
    found = judged(frames, default, choose_device("cpu"), choose=True)
    apply = replace(found.correction, dtype="float32").apply
    return [apply(frame) for frame in frames], not found.correction.destripes, tuple(found.cautions())


def by_command(frames: _Frames) -> tuple[_Frames, bool, tuple[str, ...]]:
    """The same by files and the command line, with counts that are rounded."""
    with tempfile.TemporaryDirectory() as folder:
        raw, made = Path(folder) / "raw", Path(folder) / "made"
        raw.mkdir()
        for number, frame in enumerate(frames):
            tifffile.imwrite(raw / f"{number}.tiff", frame)
        arguments = ["destripe", "--auto", "--dark", str(DARK), "--input", str(raw), "--output", str(made)]
        app(arguments, standalone_mode=False)
        done = [tifffile.imread(made / f"{number}.tiff") for number in range(len(frames))]
    light = [np.where(frame, np.maximum(frame - DARK, 0), 0).round() for frame in frames]
    return done, all(map(np.array_equal, done, light)), ()


def outcome(seed: int, way: _Way = chosen) -> Outcome:
    """What becomes of the scene of a seed."""
    spec = spec_of(seed)
    frames = frames_of(spec)
    made, is_left, warned = way([frame.raw for frame in frames])
    ways = (made, *([do(frame) for frame in frames] for do in (_former, best_linear)))
    none = Truth.of(frames, [without_destriping(frame) for frame in frames])
    return Outcome(spec, none, *(Truth.of(frames, corrected) for corrected in ways), is_left, warned)


def _former(frame: Any) -> HostArray:
    return FORMER.apply(frame.raw)


def table(outcomes: Sequence[Outcome]) -> Iterator[dict[str, Any]]:
    """A row for all scenes, and for those of each kind: how many reach all aims, and what others miss."""
    for kind, belongs in _KINDS.items():
        of_kind = [each for each in outcomes if belongs(each)]
        treated = [each for each in of_kind if not each.is_left]
        row: dict[str, Any] = {"scenes": kind, "n": len(of_kind), "reach all": _count(not e.missed for e in of_kind)}
        row |= {"left": len(of_kind) - len(treated), "worse than none": _count(e.is_worse for e in of_kind)}
        row |= {f"miss {aim}": _count(aim in each.missed for each in treated) for aim in AIMS}
        yield row | {"error of none's": _middle([e.made.error / e.none.error for e in of_kind])}


_KINDS: dict[str, Callable[[Outcome], bool]] = {
    "all": lambda _: True,
    "stripes stand out": lambda each: each.is_in_reach,
    "they do not": lambda each: not each.is_in_reach,
    **{f"{n} columns": lambda each, n=n: each.spec.columns == n for n in (128, 256, 512, 1024, 2048)},
    "1-3 rows wide": lambda each: each.spec.width <= 3,
    "5-8 rows": lambda each: 3 < each.spec.width <= 8,
    "14-20 rows": lambda each: each.spec.width > 8,
    "whole rows": lambda each: each.spec.dense and not each.spec.partial,
    "rows that begin within": lambda each: each.spec.dense and each.spec.partial,
    "shadows": lambda each: not each.spec.dense and not each.spec.partial,
    "shadows that begin within": lambda each: not each.spec.dense and each.spec.partial,
    "stand out, at a margin": lambda each: each.is_in_reach and each.spec.padding > 0,
}


def _count(which: Iterator[bool]) -> int:
    return sum(map(bool, which))


def _middle(values: Sequence[float]) -> float | str:
    return round(float(np.median(values)), 3) if values else ""


def line(seed: int, each: Outcome) -> str:
    """A scene and what became of it, for people."""
    spec, made, none = each.spec, each.made, each.none
    kind = f"{'rows' if spec.dense else 'shadows'}{', partial' if spec.partial else ''}"
    fate = "left" if each.is_left else "WORSE" if each.is_worse else "made"
    return (
        f"{seed}: {kind}, {100 * spec.amplitude:.0f} %, {spec.width:.0f} wide, {spec.rows} x {spec.columns}, "
        f"padding {spec.padding}, level {spec.level:.0f}, texture {spec.texture}: "
        f"{fate}, misses {' '.join(each.missed) or 'none'}; "
        f"error {none.error:.2f} -> {made.error:.2f} (former {each.former.error:.2f}, best {each.best.error:.2f}), "
        f"energy {100 * made.energy / none.energy:.0f} % (best {100 * each.best.energy / none.energy:.0f}), "
        f"kept {made.kept:.1f}, halo {made.halo:.2f}{'; warned' if each.warned else ''}"
    )


def main() -> None:
    """Measure scenes, print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=SCENES, help="how many scenes")
    parser.add_argument("--first", type=int, default=FIRST, help="seed of the first one")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--each", action="store_true", help="print every scene that misses an aim")
    parser.add_argument("--command", action="store_true", help="go through files and the command line")
    given = parser.parse_args()
    seeds, way = range(given.first, given.first + given.scenes), by_command if given.command else chosen
    with ProcessPoolExecutor(given.workers) as pool:
        outcomes = list(pool.map(partial(outcome, way=way), seeds))
    for seed, each in zip(seeds, outcomes, strict=True):
        if given.each and each.missed:
            print(line(seed, each))
    report("stripes", [{"seeds": f"{seeds.start}-{seeds.stop - 1}"} | row for row in table(outcomes)])


if __name__ == "__main__":
    main()
