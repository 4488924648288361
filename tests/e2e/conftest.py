"""A small acquisition that the end-to-end tests share: 2 x 2 tiles, stage errors of several voxels, two channels."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec, Truth
from tests.e2e.commands import succeed

SPEC = PhantomSpec(n_frames=96, n_rows=128, n_columns=96, overlap=0.42, stage_error_um=4.0, n_channels=2)
MATCHING = ("--sample-count", 40, "--window-size", "21,21,21")


@pytest.fixture(scope="session")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """The acquisition and what is known about it."""
    return make_phantom(tmp_path_factory.mktemp("e2e") / "phantom", SPEC)


@pytest.fixture(scope="session")
def plain_run(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``pipeline`` makes of the first channel without correcting frames."""
    out = tmp_path_factory.mktemp("plain") / "out"
    succeed("pipeline", truth.channel(), "--output", out, "--no-flat", "--destripe-method", "none", "--levels", 3,
            "--keep-tiles", "--no-report", *MATCHING)  # fmt: skip
    return out
