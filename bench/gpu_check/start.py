"""The command line of gpu-check."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.gpu_check.process import ROOT
from bench.gpu_check.records import read_record, table
from bench.gpu_check.runner import DEVICE, PARTS, Run, run, show


def parser() -> argparse.ArgumentParser:
    """The options of gpu-check."""
    parser = argparse.ArgumentParser(prog="python -m bench gpu-check", description=main.__doc__)
    parser.add_argument("--part", type=int, choices=sorted(PARTS), help="1: parity, transfers, kernels against a copy; "
                        "2: stress, sanitizers, demo, pipeline (default: both, one after the other)")  # fmt: skip
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results", help="folder for JSON and tables")
    parser.add_argument("--table", type=Path, metavar="JSON", help="only print the table of a record")
    parser.add_argument("--step", action="append", metavar="NAME", help="only this step (may be repeated)")
    parser.add_argument("--budget", type=float, metavar="S", help="seconds for all steps of a part together")
    parser.add_argument("--small", action="store_true", help="small sizes: shows that the steps run, no more")
    parser.add_argument("--through", metavar="MODULE", help="run steps with the stand-in for CuPy of this module")
    parser.add_argument("--wheels", type=Path, action="append", metavar="DIR", help="folder with wheels of packages "
                        "that are not installed (default: the checkout, its parent, and wheels/ in both)")  # fmt: skip
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the parts that are asked for and print their tables; 0 if every step passed."""
    asked = parser().parse_args(arguments)
    if asked.table:
        print(table(read_record(asked.table)))
        return 0
    has_passed = True
    for part in [asked.part] if asked.part else sorted(PARTS):
        steps = [step for step in PARTS[part] if not asked.step or step.name in (DEVICE.name, *asked.step)]
        if len(steps) < 2:
            parser().error(f"part {part} has the steps {', '.join(step.name for step in PARTS[part])}")
        wanted = Run(part, asked.output, steps, asked.budget, asked.small, asked.through)
        record = run(replace(wanted, wheels=asked.wheels) if asked.wheels else wanted)
        show(record)
        has_passed = has_passed and record.has_passed
    return 0 if has_passed else 1
