"""A small acquisition and what the pipeline made of it, for the tests of this room."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec, Truth
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.oblique.pipeline.stage import plan, run

SPEC = PhantomSpec(
    n_frames=100, n_rows=110, n_columns=80, overlap=0.42, stage_error_um=4.0, stripe_strength=0.0, seed=31
)


@dataclass(frozen=True)
class Made:
    """The raw files, and the output."""

    truth: Truth
    output: Path

    def copied(self, folder: Path) -> Path:
        """A copy of the output that may be spoilt."""
        shutil.copytree(self.output, folder)
        return folder


def options_of(channel: Path, output: Path) -> PipelineOptions:
    """Fast options."""
    options = PipelineOptions(
        channel,
        output,
        correct_flat=False,
        matching=MatchOptions(sample_count=16, window_px=(21, 21, 21)),
        n_workers=1,
        preset="plain",
        report=False,
    )
    correction = replace(options.correction, method="none", dark=100.0)
    return replace(options, correction=correction, stitch=replace(options.stitch, levels=3))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A 2 x 2 mosaic, stitched."""
    folder = tmp_path_factory.mktemp("report")
    truth = make_phantom(folder / "phantom", SPEC)
    return Made(truth, run(plan(options_of(truth.channel(), folder / "out"))).output)
