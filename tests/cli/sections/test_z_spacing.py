"""The command: golden positions of Fiji's plugin, images end to end, and each refusal with its exit code."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from gpustitch.demo.series.simulate import SimulationOptions, simulate_series
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.file import ZPositions, read_z_positions, write_z_positions
from gpustitch.sections.positions.stage import ZSpacingOptions, plan, run
from tests.e2e.commands import fail, succeed
from tests.sections.positions.zspacing_golden import FOLDER, golden

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    path = tmp_path_factory.mktemp("matrix") / "s.npz"
    z = np.cumsum(np.random.default_rng(0).uniform(0.6, 1.4, 40))
    np.savez(path, matrix=np.exp(-np.abs(np.subtract.outer(z, z)) / 8))
    return path


def arguments_of(case):
    """The options of a golden case as a user would give them."""
    o = case.options
    return [
        "--compat",
        "--range", o.max_lag,
        "--outer-iterations", o.outer_iterations,
        "--outer-regularization", o.outer_regularization,
        "--inner-iterations", o.inner_iterations,
        "--inner-regularization", o.inner_regularization,
        "--allow-reordering" if o.allow_reordering else "--no-reordering",
        "--force-monotonicity" if o.force_monotonicity else "--no-force-monotonicity",
        "--minimum-section-thickness", o.minimum_section_thickness,
        "--minimum-correlation", o.minimum_correlation,
        "--coordinate-regularizer", o.coordinate_regularizer,
        "--regularization", o.regularization,
        "--local-estimates", o.local_estimates,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["random_plugin_r10", "heavy_noreorder", "small_perfect", "random_mincorr", "random_local3", "random_identity"],
)
def test_positions_are_those_of_the_plugin(tmp_path, name):
    case = golden(name)
    assert case.iterations[-1] == case.options.outer_iterations
    succeed("z-spacing", FOLDER / f"{name}.npz", "-o", tmp_path / "z.csv", *arguments_of(case), "--quiet")
    z = read_z_positions(tmp_path / "z.csv")
    np.testing.assert_allclose(z.positions, case.positions[-1], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(z.order, case.orders[-1])
    np.testing.assert_allclose(z.weights, case.factors[-1], rtol=0, atol=1e-6)


def test_what_is_not_said_is_the_plugin_s_default(tmp_path):
    case = golden("random_plugin_r10")
    succeed("z-spacing", FOLDER / "random_plugin_r10.npz", "--output", tmp_path / "z.csv", "--compat")
    np.testing.assert_allclose(read_z_positions(tmp_path / "z.csv").positions, case.positions[-1], rtol=0, atol=1e-6)


def test_a_tiff_stack_becomes_positions_and_a_report(tmp_path):
    series = simulate_series(SimulationOptions(number=50, rows=96, columns=96, seed=2, constant=1, spacing_cv=0.2))
    tifffile.imwrite(tmp_path / "stack.tif", series.planes(), photometric="minisblack")
    said = succeed(
        "z-spacing", tmp_path / "stack.tif", "--output", tmp_path / "z.csv", "--report", tmp_path / "z.pdf",
        "--range", 8, "--device", "cpu", "--memory", "256M",
    )  # fmt: skip
    constant = series.faults[0].sections[0]
    assert f"planes {constant}\n" in said and f"constant: {constant} (100 %)" in said
    for line in (
        "MiB of planes are held",
        "Similarity: 50 planes",
        "Positions: ",
        "spacing of 50 sections",
        "sections reordered: 0",
    ):
        assert line in said
    assert (tmp_path / "z.pdf").read_bytes().startswith(b"%PDF")
    found = read_z_positions(tmp_path / "z.csv").positions
    assert np.corrcoef(np.diff(found), np.diff(series.positions))[0, 1] > 0.9


def test_similarity_then_z_spacing_is_z_spacing(tmp_path):
    series = simulate_series(SimulationOptions(number=30, rows=64, columns=64, seed=4, spacing_cv=0.2))
    np.save(tmp_path / "stack.npy", series.planes())
    found = {}
    for suffix in ("npz", "tif"):
        succeed("similarity", tmp_path / "stack.npy", tmp_path / f"s.{suffix}", "--range", 7)
        succeed("z-spacing", tmp_path / f"s.{suffix}", "-o", tmp_path / f"{suffix}.csv", "--range", 7)
        found[suffix] = read_z_positions(tmp_path / f"{suffix}.csv").positions
    succeed("z-spacing", tmp_path / "stack.npy", "-o", tmp_path / "z.csv", "--range", 7)
    direct = read_z_positions(tmp_path / "z.csv").positions
    np.testing.assert_array_equal(found["npz"], direct)
    np.testing.assert_allclose(found["tif"], direct, atol=1e-3)


def test_where_to_start_and_how_much_sections_count_are_taken_from_tables(matrix, tmp_path):
    n = 40
    start = np.arange(n) + 0.3 * np.sin(np.arange(n))
    weights = np.where(np.arange(n) == 7, 0.2, 1.0)
    table = ZPositions(start, np.arange(n), np.full(n, np.nan), weights)
    write_z_positions(tmp_path / "prior.csv", table)
    prior = tmp_path / "prior.csv"
    succeed("z-spacing", matrix, "-o", tmp_path / "z.csv", "--compat", "--start", prior, "--section-weights", prior)
    with np.load(matrix) as archive:
        expected = estimate_positions(
            archive["matrix"], EstimateOptions(compat=True), starting_coordinates=start, section_weights=weights
        )
    np.testing.assert_array_equal(read_z_positions(tmp_path / "z.csv").positions, expected.positions)

    (tmp_path / "short.csv").write_text("z-index,mapping\n0,0\n1,1\n")
    out = ("-o", tmp_path / "z2.csv")
    assert "is about 2 sections" in fail(6, "z-spacing", matrix, *out, "--start", tmp_path / "short.csv")
    unweighted = tmp_path / "unweighted.csv"
    write_z_positions(unweighted, ZPositions(start, np.arange(n), weights, np.full(n, np.nan)))
    assert "weight of at least 0" in fail(5, "z-spacing", matrix, *out, "--section-weights", unweighted)


def test_quiet_prints_results_and_warnings_only(matrix, tmp_path):
    said = succeed("z-spacing", matrix, "-o", tmp_path / "z.csv", "--quiet", "--inner-iterations", 3)
    assert "without --compat nothing is changed by --inner-iterations" in said
    assert "spacing of 40 sections" in said and "device" not in said
    out = ("-o", tmp_path / "z.csv", "--overwrite", "--quiet")
    assert "with --compat nothing is changed by --tolerance" in succeed(
        "z-spacing", matrix, *out, "--compat", "--tolerance", 0.1
    )
    assert "holds similarities, not images" in succeed("z-spacing", matrix, *out, "--scale", 0.5)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--range", 40), 3, "--range is 40"),
        (("--outer-iterations", 0), 3, "--outer-iterations is 0, but it must be at least 1"),
        (("--outer-regularization", 1), 3, "--outer-regularization"),
        (("--inner-regularization", 2), 3, "--inner-regularization"),
        (("--coordinate-regularizer", -1), 3, "--coordinate-regularizer"),
        (("--minimum-section-thickness", -1), 3, "--minimum-section-thickness"),
        (("--local-estimates", 0), 3, "--local-estimates"),
        (("--tolerance", 0), 3, "--tolerance"),
        (("--regularization", "spring"), 2, "regularization"),
        (("--report", "z.txt"), 3, "--report is a picture"),
        (("--scale", "x"), 3, "--scale takes"),
        (("--minimum-correlation", 0.999), 10, "(--minimum-correlation); there is nothing"),
        (("--pair-weights", "none.npz"), 4, "none.npz"),
    ],
)
def test_each_refusal_has_its_exit_code(matrix, tmp_path, arguments, code, said):
    assert said in fail(code, "z-spacing", matrix, "-o", tmp_path / "z.csv", *arguments)
    assert not list(tmp_path.iterdir())


def test_three_sections_are_enough(tmp_path):
    np.save(tmp_path / "stack.npy", np.random.default_rng(0).integers(0, 99, (3, 16, 16), np.uint8))
    for more in ((), ("--compat", "--overwrite")):
        succeed("z-spacing", tmp_path / "stack.npy", "-o", tmp_path / "z.csv", *more)
        assert np.isfinite(read_z_positions(tmp_path / "z.csv").positions).all()


def test_inputs_that_will_not_do(tmp_path):
    out = ("-o", tmp_path / "z.csv")
    assert "none.npz" in fail(4, "z-spacing", tmp_path / "none.npz", *out)
    assert "none.tif" in fail(4, "z-spacing", tmp_path / "none.tif", *out)
    tifffile.imwrite(tmp_path / "wide.tif", np.ones((5, 9), np.float32))
    assert "neither a square matrix" in fail(5, "z-spacing", tmp_path / "wide.tif", *out)
    np.savez(tmp_path / "nan.npz", matrix=np.full((5, 5), np.nan))
    assert "none of the 5 sections" in fail(10, "z-spacing", tmp_path / "nan.npz", *out)
    np.save(tmp_path / "flat.npy", np.full((5, 8, 8), 3, np.uint8))
    assert "no two of the 5 planes" in fail(5, "z-spacing", tmp_path / "flat.npy", *out)
    assert not (tmp_path / "z.csv").exists()


def test_help_shows_an_example():
    assert "Example: gpustitch z-spacing" in succeed("z-spacing", "--help")


def test_pairs_may_count_differently(matrix, tmp_path):
    n = 40
    weights = np.ones((n, n))
    weights[10:14, 10:14] = 0.01
    np.savez(tmp_path / "w.npz", matrix=weights)
    found = {}
    for name, more in (("plain", ()), ("weighted", ("--pair-weights", tmp_path / "w.npz"))):
        succeed("z-spacing", matrix, "-o", tmp_path / f"{name}.csv", "--compat", *more)
        found[name] = read_z_positions(tmp_path / f"{name}.csv").positions
    with np.load(matrix) as archive:
        expected = estimate_positions(archive["matrix"], EstimateOptions(compat=True), pair_weights=weights)
    np.testing.assert_array_equal(found["weighted"], expected.positions)
    assert np.abs(found["weighted"] - found["plain"]).max() > 1e-6
    np.savez(tmp_path / "short.npz", matrix=np.ones((5, 5)))
    out = ("-o", tmp_path / "z.csv", "--pair-weights", tmp_path / "short.npz")
    assert "weights of 5 sections; there are 40" in fail(6, "z-spacing", matrix, *out)


def test_where_positions_come_from_is_written_beside_them(matrix, tmp_path):
    succeed("z-spacing", matrix, "-o", tmp_path / "z.csv", "--range", 7, "--tolerance", 0.01)
    record = json.loads((tmp_path / "z.csv.json").read_text())
    assert record["program"] == "gpustitch" and record["inputs"][0]["path"] == str(matrix)
    assert record["parameters"]["max_lag"] == 7 and record["parameters"]["tolerance"] == 0.01
    assert record["faults"] == [] and record["reordered"] == [] and record["iterations"] >= 1
    (tmp_path / "z.csv").unlink()
    assert "z.csv.json exists already" in fail(7, "z-spacing", matrix, "-o", tmp_path / "z.csv")
    assert not (tmp_path / "z.csv").exists()


def test_a_start_that_is_the_same_for_all_is_named(matrix, tmp_path):
    (tmp_path / "same.csv").write_text("z-index,mapping\n" + "".join(f"{i},3\n" for i in range(40)))
    out = ("-o", tmp_path / "z.csv", "--start", tmp_path / "same.csv")
    assert "same.csv has all sections at the position 3" in fail(5, "z-spacing", matrix, *out)


def test_one_image_is_not_taken_for_a_stack(tmp_path):
    tifffile.imwrite(tmp_path / "one.tif", np.random.default_rng(0).integers(0, 2, (16, 16), np.uint8))
    assert "a TIFF of one page is taken for one" in fail(5, "z-spacing", tmp_path / "one.tif", "-o", tmp_path / "z.csv")


def test_library_and_command_write_the_same_bytes(matrix, tmp_path):
    stated = {"max_lag": 7, "estimate": EstimateOptions(regularization="identity", spacing_ratio=3.0)}
    run(plan(ZSpacingOptions(matrix, tmp_path / "library.csv", **stated)))
    options = ("--range", 7, "--regularization", "identity", "--spacing-ratio", 3)
    succeed("z-spacing", matrix, "-o", tmp_path / "command.csv", *options)
    assert (tmp_path / "library.csv").read_bytes() == (tmp_path / "command.csv").read_bytes()
    records = [json.loads((tmp_path / f"{name}.csv.json").read_text()) for name in ("library", "command")]
    assert records[0]["parameters"] == records[1]["parameters"]


def test_help_names_options_as_they_are_typed():
    said = " ".join(succeed("z-spacing", "--help").replace("│", " ").split())
    assert "; --compat only." in said and "or --start)" in said and "`" not in said


@pytest.mark.parametrize("option", ["--mask", "--start", "--section-weights", "--pair-weights"])
def test_a_folder_in_place_of_a_file_is_refused_before_anything_in_it_is_listed(option, tmp_path, monkeypatch):
    (tmp_path / "folder" / "below").mkdir(parents=True)
    monkeypatch.setattr("gpustitch.running.inputs.stamps", lambda *_, **__: pytest.fail("files were listed"))
    np.savez(tmp_path / "s.npz", half_strip=np.ones((12, 4)))
    text = fail(5, "z-spacing", tmp_path / "s.npz", "-o", tmp_path / "o.csv", option, tmp_path / "folder")
    assert f"{option} is the folder" in text
