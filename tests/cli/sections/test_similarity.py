"""The command: a stack in, similarities out, and each refusal with its exit code."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from gpustitch.demo.series.simulate import SimulationOptions, simulate_series
from gpustitch.sections.similarity.banded import banded_correlation
from gpustitch.sections.similarity.bands import full_matrix
from gpustitch.sections.similarity.binning import bin_planes
from gpustitch.sections.similarity.file import read_similarity
from tests.e2e.commands import fail, succeed
from tests.sections.similarity.drawn_series import bordered, jittered, series


@pytest.fixture(scope="module")
def planes():
    return simulate_series(SimulationOptions(number=20, rows=40, columns=48, seed=3)).planes()


@pytest.fixture(scope="module")
def stack(planes, tmp_path_factory):
    path = tmp_path_factory.mktemp("stack") / "stack.tif"
    tifffile.imwrite(path, planes, photometric="minisblack")
    return path


def test_a_stack_becomes_a_half_strip(stack, planes, tmp_path):
    out = tmp_path / "s.npz"
    said = succeed("similarity", stack, out, "--range", 5, "--device", "cpu", "--n-workers", 2, "--memory", "512M")
    assert f"{out}: 20 planes" in said and "MiB of planes are held" in said and "Similarity: 20 planes" in said
    np.testing.assert_allclose(read_similarity(out).values, banded_correlation(planes, 5), atol=1e-6)


def test_a_folder_of_files_becomes_a_matrix(planes, tmp_path):
    for i, plane in enumerate(planes):
        tifffile.imwrite(tmp_path / f"in_{i}.tif", plane)
    out = tmp_path / "out" / "s.tif"
    said = succeed("similarity", tmp_path, out, "--scale", "0.5,0.25", "--chunk", 3, "--quiet", "--device", "cpu")
    assert said.count("\n") == 1
    expected = full_matrix(banded_correlation(bin_planes(planes, (4, 2)), 10))
    np.testing.assert_allclose(tifffile.imread(out), expected, atol=1e-6)


def test_an_output_is_replaced_only_when_asked(stack, tmp_path):
    out = tmp_path / "s.npz"
    succeed("similarity", stack, out, "--quiet")
    fail(7, "similarity", stack, out)
    succeed("similarity", stack, out, "--overwrite", "--range", 2, "--quiet")
    assert read_similarity(out).max_lag == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--range", 20), 3, "--range is 20; of 20 planes it is 1 to 19"),
        (("--register", "yes"), 3, "--register takes auto, off or a number, not 'yes'"),
        (("--register", "0.5"), 3, "--register is 0.5, but it must be at least 1"),
        (("--high-pass", "nan"), 3, "--high-pass takes auto, off or a number"),
        (("--scale", "half"), 3, "--scale takes a number"),
        (("--scale", "1,2,3"), 3, "--scale takes a number"),
        (("--scale", "0.3"), 3, "--scale is"),
        (("--memory", "much"), 3, "--memory takes"),
        (("--memory", "1M"), 3, "--memory 1G"),
        (("--mask", "no.tif"), 4, "no.tif"),
    ],
)
def test_each_refusal_has_its_exit_code(stack, tmp_path, arguments, code, said):
    assert said in fail(code, "similarity", stack, tmp_path / "s.npz", *arguments)
    assert not list(tmp_path.iterdir())


def test_help_shows_an_example():
    assert "Example: gpustitch similarity" in succeed("similarity", "--help")


def test_planes_are_prepared_as_asked_for(tmp_path):
    planes = bordered(jittered(series(5, 16)[0], 1, 1.0), 1, 9, value=0.0)
    tifffile.imwrite(tmp_path / "s.tif", planes, photometric="minisblack")
    said = succeed("similarity", tmp_path / "s.tif", tmp_path / "s.npz", "--range", 3, "--device", "cpu")
    assert "compared in register" in said and "(--register)" in said
    assert "areas of one value at the edge of 16 of 16 planes: not compared (--no-data)" in said
    off = ("--register", "OFF", "--no-data", "off", "--high-pass", "off")
    said = succeed("similarity", tmp_path / "s.tif", tmp_path / "off.npz", "--range", 3, "--device", "cpu", *off)
    assert "register" not in said
    np.testing.assert_allclose(read_similarity(tmp_path / "off.npz").values, banded_correlation(planes, 3), atol=1e-6)
    numbers = ("--register", 5, "--no-data", "0", "--high-pass", 6.5)
    succeed("similarity", tmp_path / "s.tif", tmp_path / "n.npz", "--range", 3, "--device", "cpu", *numbers)
    with np.load(tmp_path / "n.npz") as archive:
        done = json.loads(str(archive["provenance"]))["compared"]
    assert (done["register_px"], done["no_data"], done["high_pass_px"]) == (5, 0, 6.5)
