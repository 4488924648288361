"""The command: verdicts as text and as JSON, exit codes, bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile

from gpustitch.cli.main import app
from gpustitch.demo.series.dicom import write_series
from tests.e2e.commands import fail, run, succeed
from tests.slices.dicom.scenarios import EXPECTED, scenario

REAL = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests"


def judged(*arguments):
    """Exit code and the list on stdout."""
    result = run("spacing", *arguments, "--json", "--quiet")
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.parametrize("number", range(1, 9))
def test_the_eight_series(number, tmp_path):
    scenario(number, tmp_path)
    code, (found,) = judged(tmp_path)
    right = EXPECTED[number]
    assert (found["class"], found["n_output"]) == (right.kind, right.n_output)
    assert found["spacing_mm"][0] == (None if right.spacing_mm is None else pytest.approx(right.spacing_mm, rel=2e-5))
    assert found["spacing_mm"][1:] == [0.75, 0.5]
    assert right.codes <= set(found["warnings"])
    assert code == (22 if number == 8 else 21)


def test_without_positions_the_tag_is_believed_and_said(tmp_path):
    scenario(8, tmp_path, spacing_between=3.0)
    code, (found,) = judged(tmp_path)
    assert (code, found["spacing_mm"][0], found["warnings"]) == (21, 3.0, ["SPACING_TAG_USED"])


def test_thickness_and_a_given_spacing(tmp_path):
    scenario(8, tmp_path)
    assert judged(tmp_path, "--use-thickness")[1][0]["spacing_mm"][0] == 5.0
    assert judged(tmp_path, "--spacing-z", 1.25)[1][0]["spacing_mm"][0] == 1.25


def test_series_of_real_scanners_are_judged_as_they_are():
    code, (head,) = judged(REAL / "98892001/CT5N")
    assert (code, head["class"], head["spacing_mm"][0], head["n_output"]) == (0, "UNIFORM", 2.5, 5)
    code, (hole,) = judged(REAL / "77654033/CT2")
    assert (code, hole["class"], hole["spacing_mm"][0]) == (21, "RUNS_WITH_GAPS", 1.25)
    assert hole["warnings"] == ["GAPS", "FILES_LOST"]


def test_a_clean_series_as_text(tmp_path):
    write_series(tmp_path, 2.5 * np.arange(9), series="clean")
    said = succeed("spacing", tmp_path)
    assert "clean (series 1): UNIFORM" in said and "Use 2.5 mm for all slices." in said
    assert "Headers: 9 files" in said
    assert "Headers" not in succeed("spacing", tmp_path, "--quiet")


def test_on_a_terminal_headlines_warnings_and_advice_stand_out(tmp_path, monkeypatch):
    write_series(tmp_path, [0, 2.5, 5, 10, 12.5, 15], series="a hole")
    plain = fail(21, "spacing", tmp_path, "--quiet").splitlines()
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines = fail(21, "spacing", tmp_path, "--quiet").splitlines()
    assert "\x1b" not in "".join(plain) and len(lines) == len(plain)
    color = {text.strip(): line.split("m")[0] for line, text in zip(lines, plain, strict=True)}
    assert color["a hole (series 1): MISSING"] == "\x1b[1;33"
    warned = [shown for text, shown in color.items() if text.startswith(("warning", "InstanceNumber"))]
    assert len(warned) == 2 and set(warned) == {"\x1b[33"}
    assert [shown for text, shown in color.items() if text.startswith("do ")] == ["\x1b[1"]


def test_each_series_has_its_verdict(tmp_path):
    for number in (1, 5):
        scenario(number, tmp_path / str(number))
    said = fail(21, "spacing", tmp_path / "1", tmp_path / "5")
    assert said.index("scenario 1") < said.index("scenario 5")
    assert said.count("  spacing   z ") == 2
    assert [one["class"] for one in judged(tmp_path)[1]] == ["UNIFORM", "VARIABLE"]


def test_json_alone_is_on_stdout(tmp_path):
    files = scenario(6, tmp_path)
    files[0].write_bytes(b"rubbish")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.dcm").write_bytes(b"rubbish")
    result = run("spacing", tmp_path, "--json")
    assert len(json.loads(result.stdout)) == 1
    assert "b.dcm" in result.stderr and "warning" in result.stderr
    assert "UNREADABLE_FILE" in json.loads(result.stdout)[0]["warnings"]


def test_a_warning_of_a_file_elsewhere_is_no_clean_exit(tmp_path):
    write_series(tmp_path / "a", 2.5 * np.arange(9))
    (tmp_path / "b.dcm").write_bytes(b"rubbish")
    assert "b.dcm" in fail(21, "spacing", tmp_path, "--quiet")


def test_a_note_is_no_warning(tmp_path):
    write_series(tmp_path, 2.5 * np.arange(9))
    tifffile.imwrite(tmp_path / "preview.tif", np.zeros((6, 5), np.uint8))
    for more, told in (((), True), (("--quiet",), False)):
        result = run("spacing", tmp_path, *more)
        assert result.exit_code == 0 and ("single image beside DICOM" in result.stderr) == told
        assert "warning: " not in result.stderr


def test_advice_calls_options_as_they_are_typed(tmp_path):
    scenario(8, tmp_path / "8")
    scenario(3, tmp_path / "3")
    assert "with --spacing-z MM; " in judged(tmp_path / "8")[1][0]["advice"]
    assert "(--fill-gaps: interpolated)" in " ".join(fail(21, "spacing", tmp_path / "3").split())


def test_what_holds_no_slices_is_refused(tmp_path):
    assert "no file or folder" in fail(4, "spacing", tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("nothing")
    assert "no slices" in fail(4, "spacing", tmp_path)
    (tmp_path / "a.dcm").write_text("nothing")
    assert "a.dcm is not DICOM" in fail(5, "spacing", tmp_path)
    assert "positive" in fail(3, "spacing", tmp_path, "--spacing", "-1")
    assert "tolerance" in fail(3, "spacing", tmp_path, "--tolerance", 2)
    assert "split by acquisition" in fail(3, "spacing", tmp_path, "--split-by", "echo,phase")


def test_help_has_an_example():
    assert "Example: gpustitch spacing" in succeed("spacing", "--help")
    assert "spacing" in app.info.cls.list_commands(None, None)


def as_process(path, **options):
    return subprocess.run(
        [sys.executable, "-c", "from gpustitch.cli.main import main; main()", "spacing", str(path)],
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False, **options,
    )  # fmt: skip


def test_names_that_the_terminal_cannot_show(tmp_path):
    write_series(tmp_path / "\u982d", np.arange(5.0))
    shown = as_process(tmp_path, stdout=subprocess.PIPE)
    assert shown.returncode == 0 and b"/?" in shown.stdout


@pytest.mark.posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_for_the_verdict(tmp_path):
    write_series(tmp_path, np.arange(5.0))
    with Path("/dev/full").open("w", encoding="ascii") as full:
        failed = as_process(tmp_path, stdout=full)
    assert failed.returncode == 8
    assert b"the verdict cannot be written: No space left" in failed.stderr and b"Traceback" not in failed.stderr


def test_of_many_single_slices_a_few_are_printed(tmp_path):
    for k in range(30):
        angle = np.radians(6 * k)
        turned = (float(np.cos(angle)), float(np.sin(angle)), 0.0), (0.0, 0.0, -1.0)
        write_series(
            tmp_path, [0.0], row_and_column=turned, names=[f"{k}.dcm"], edit=lambda data, _, k=k: again(data, k)
        )
    result = run("spacing", tmp_path)
    assert result.exit_code == 22 and result.stdout.count(": SINGLE") == 5
    assert "judged apart: 30 parts of up to 1 slices" in " ".join(result.stdout.split())
    assert "25 more series of a single slice (--json lists them)" in result.stdout
    assert len(judged(tmp_path)[1]) == 30


def again(data, k):
    data.SOPInstanceUID = f"1.2.{k + 1}"
