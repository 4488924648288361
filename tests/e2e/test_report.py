"""The report of acquisitions in which one thing is wrong names it; good ones of several shapes pass."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec, Truth
from tests.e2e.commands import fail, succeed
from tests.oblique.report import sabotage

pytestmark = pytest.mark.xdist_group("report")

SPEC = PhantomSpec(
    n_frames=100, n_rows=110, n_columns=96, overlap=0.42, stage_error_um=4.0, stripe_strength=0.0, seed=41
)
FAST = ("--destripe-method", "none", "--no-flat", "--levels", 3, "--sample-count", 16, "--window-size", "21,21,21",
        "--preset", "plain", "--background", 100)  # fmt: skip


def checks(output: Path) -> dict[str, dict[str, Any]]:
    """The checks of an output's record, by name."""
    record = json.loads((output / "report.json").read_text("utf-8"))
    return {check["name"]: check for check in record["checks"]}


def wrong(output: Path) -> dict[str, str]:
    """The checks that did not pass, and how."""
    return {name: check["state"] for name, check in checks(output).items() if check["state"] in ("warn", "fail")}


def made(folder: Path, **changed: Any) -> Truth:
    """A phantom of these tests."""
    return make_phantom(folder / "phantom", dataclasses.replace(SPEC, **changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 51, "grid": (1, 2, 2)},
        {"seed": 52, "grid": (2, 3, 1), "n_frames": 70, "negative_y": True},
        {"seed": 53, "grid": (1, 1, 1), "chunglab": True},
    ],
    ids=["deep", "2x3", "single"],
)
def test_good_acquisitions_pass(tmp_path: Path, changed: dict[str, Any]) -> None:
    truth = made(tmp_path, **changed)
    how: tuple[object, ...] = ("--preset", "chunglab") if truth.spec.chunglab else ()
    how += ("--negative-y",) if truth.spec.negative_y else ()
    how += ("--illum-corr", truth.folder / "flat.tiff")
    fast = [word for word in FAST if word != "--no-flat"]
    succeed("pipeline", truth.channel(), "--output", tmp_path / "out", *fast, *how)
    assert wrong(tmp_path / "out") == {}
    if truth.spec.chunglab:  # it is no other report, so that the smallest tells as much
        succeed("report", tmp_path / "out")


@pytest.mark.parametrize(("number", "by_um"), [(1, (30, 0, 0)), (2, (0, -30, 0))])
def test_a_tile_moved_in_the_given_alignment_fails(
    tmp_path: Path, good: tuple[Truth, Path], number: int, by_um: tuple[float, float, float]
) -> None:
    truth, output = good
    sabotage.moved_position(output / "align.json", tmp_path / "moved.json", number, by_um)
    said = fail(22, "pipeline", truth.channel(), "--output", tmp_path / "out", *FAST, "--align-file",
                tmp_path / "moved.json")  # fmt: skip
    assert "--align-file" in said and (tmp_path / "out" / "volume" / "info").is_file()
    found = checks(tmp_path / "out")
    assert wrong(tmp_path / "out").get("placement") == "fail"
    assert found["placement"]["value"] == pytest.approx(30, abs=3)
    if number == 1:  # it is no other report
        fail(22, "report", tmp_path / "out")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Truth, Path]:
    """A good acquisition, and its output."""
    folder = tmp_path_factory.mktemp("good")
    truth = made(folder)
    succeed("pipeline", truth.channel(), "--output", folder / "out", *FAST)
    assert wrong(folder / "out") == {}
    return truth, folder / "out"


def test_a_tile_truly_elsewhere_is_placed_right_and_named(tmp_path: Path) -> None:
    truth = sabotage.moved_phantom(tmp_path / "phantom", dataclasses.replace(SPEC, seed=43), 2, (0, 30, 0))
    succeed("pipeline", truth.channel(), "--output", tmp_path / "out", *FAST)
    assert wrong(tmp_path / "out") == {"stage": "warn"}
    assert truth.tiles[2].name in checks(tmp_path / "out")["stage"]["reason"]


@pytest.mark.parametrize("kind", ["dead", "unlit"])
def test_a_dead_tile_fails(tmp_path: Path, kind: str) -> None:
    truth = made(tmp_path, seed=44, grid=(1, 2, 1))
    getattr(sabotage, kind)(truth, 1)
    fail(22, "pipeline", truth.channel(), "--output", tmp_path / "out", *FAST, "--allow-unaligned")
    found = checks(tmp_path / "out")["tiles with signal"]
    assert found["state"] == "fail" and truth.tiles[1].name in found["reason"]
    assert sum(tile.name in found["reason"] for tile in truth.tiles) == 1
    assert found["helps"].startswith("nothing does")
    assert wrong(tmp_path / "out").keys() <= {"tiles with signal", "links", "coverage", "seams"}


@pytest.mark.parametrize("kind", ["frozen", "copied"])
def test_frames_that_come_twice_fail(tmp_path: Path, kind: str) -> None:
    truth = made(tmp_path, seed=49, grid=(1, 2, 1))
    getattr(sabotage, kind)(truth, 1)
    fail(22, "pipeline", truth.channel(), "--output", tmp_path / "out", *FAST, "--allow-unaligned")
    found = checks(tmp_path / "out")["frames"]
    assert found["state"] == "fail" and truth.tiles[1].name in found["reason"]
    assert "cop" in found["reason"]


def test_a_tile_out_of_focus_is_named_with_its_blur(tmp_path: Path) -> None:
    truth, number = made(tmp_path, seed=54), 3
    sabotage.out_of_focus(truth, number, 4.0)
    succeed("pipeline", truth.channel(), "--output", tmp_path / "out", *FAST)
    assert wrong(tmp_path / "out") == {"focus": "warn"}
    found = checks(tmp_path / "out")["focus"]
    assert found["reason"].startswith(f"{truth.tiles[number].name} is out of focus") and 2.5 < found["value"] < 4.5


def test_rows_that_are_shifted_round_are_told(tmp_path: Path) -> None:
    truth = made(tmp_path, seed=55, grid=(1, 2, 1))
    sabotage.shifted_round(truth, 1, 7)
    fail(22, "pipeline", truth.channel(), "--output", tmp_path / "out", *FAST)
    found = checks(tmp_path / "out")["rows and columns"]
    assert found["state"] == "fail" and f"{truth.tiles[1].name}: row 7 is the first one" in found["reason"]


def test_saturation_warns(tmp_path: Path) -> None:
    truth = made(tmp_path, seed=45, grid=(1, 1, 1))
    sabotage.saturated(truth, 0, percent=3.0)
    succeed("pipeline", truth.channel(), "--output", tmp_path / "out", *FAST)
    found = checks(tmp_path / "out")["saturation"]
    assert found["state"] == "warn" and truth.tiles[0].name in found["reason"]
    assert found["value"] == pytest.approx(3.0, rel=0.25)


def test_a_wrong_voxel_size_fails_or_is_mended(tmp_path: Path) -> None:
    truth = made(tmp_path, seed=46, grid=(1, 4, 1), stage_error_um=0.3)
    size = ("--y-voxel-size", 1.03 * truth.spec.pixel_um, "--stage-repeatability", 0.3)
    fail(22, "pipeline", truth.channel(), "--output", tmp_path / "nominal", *FAST, *size, "--y-size", "nominal")
    found = checks(tmp_path / "nominal")["y voxel size"]
    assert found["state"] == "fail" and found["value"] == pytest.approx(3, abs=0.5)
    assert "`y_size` measured" in found["helps"] and "`y_voxel_um`" in found["helps"]
    succeed("pipeline", truth.channel(), "--output", tmp_path / "measured", *FAST, *size)
    assert checks(tmp_path / "measured")["y voxel size"]["state"] == "warn"


def test_dropped_frames_warn(tmp_path: Path) -> None:
    truth = made(tmp_path, seed=47, grid=(1, 2, 1))
    sabotage.dropped(truth, 1, range(50, 55))
    succeed("pipeline", truth.channel(), "--output", tmp_path / "out", *FAST, "--allow-missing")
    found = checks(tmp_path / "out")["frames"]
    assert found["state"] == "warn" and f"{truth.tiles[1].name}: 5" in found["reason"]


def test_an_overlap_without_texture_is_named(tmp_path: Path) -> None:
    truth = made(tmp_path, seed=48)
    sabotage.blank_overlap(truth, 0, 1)
    succeed("pipeline", truth.channel(), "--output", tmp_path / "out", *FAST)
    found = checks(tmp_path / "out")["links"]
    assert found["state"] == "warn" and found["value"] == 1
    assert f"{truth.tiles[0].name} - {truth.tiles[1].name}" in found["reason"]
    assert checks(tmp_path / "out")["placement"]["state"] == "pass"


def test_strong_stripes_that_are_left_are_told_with_what_removes_them(tmp_path: Path) -> None:
    truth = made(tmp_path, seed=49, grid=(1, 2, 1), stripe_strength=0.12)
    succeed("pipeline", truth.channel(), "--output", tmp_path / "out", *FAST)
    found = checks(tmp_path / "out")["stripes"]
    assert found["state"] == "warn" and found["helps"] == "`method` wavelet"
    assert "--destripe-method wavelet" in fail(21, "report", tmp_path / "out")


def test_exchanged_tiles_that_are_placed_right_are_named(tmp_path: Path) -> None:
    """The tiles are so small that each is found where its picture is, within the reach of the search."""
    truth = made(tmp_path, seed=50, n_frames=76, n_columns=72)
    sabotage.swapped(truth, 0, 2)
    succeed("pipeline", truth.channel(), "--output", tmp_path / "out", *FAST)
    assert wrong(tmp_path / "out") == {"stage": "warn"}
    names = [truth.tiles[number].name for number in (0, 2)]
    assert f"{names[0]} and {names[1]} lie where" in checks(tmp_path / "out")["stage"]["reason"]


def test_exchanged_tiles_fail_and_are_named(tmp_path: Path) -> None:
    truth = made(tmp_path, seed=50)
    sabotage.swapped(truth, 0, 2)
    fail(22, "pipeline", truth.channel(), "--output", tmp_path / "out", *FAST, "--allow-unaligned")
    found = checks(tmp_path / "out")["placement"]
    assert found["state"] == "fail" and "exchanged" in found["reason"]
    assert {tile.name for tile in truth.tiles if tile.name in found["reason"]} == {
        truth.tiles[0].name, truth.tiles[2].name,
    }  # fmt: skip
