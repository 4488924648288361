"""Notebooks of the documentation: stored without outputs, executed, and right about what they show."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from docs.notebook_pages import NOTEBOOKS, Cell, executed, page_of

pytestmark = pytest.mark.long

BY_NAME = {path.stem: path for path in NOTEBOOKS}


def run(name: str) -> tuple[dict[str, Any], list[Cell]]:
    """The variables of a notebook after its cells, and the cells."""
    names: dict[str, Any] = {}
    return names, executed(BY_NAME[name], names)


def check_pictures(cells: list[Cell], number: int) -> None:
    """So many pictures, and none of one color."""
    drawn = [Image.open(io.BytesIO(picture)).convert("L") for cell in cells for picture in cell.drawn]
    assert len(drawn) == number
    assert all(np.asarray(picture).std() > 10 for picture in drawn)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_docs_notebooks_are_stored_without_outputs(path):
    content = json.loads(path.read_text("utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    codes = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert codes and not any(cell["outputs"] or cell["execution_count"] for cell in codes)
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])
    assert not any(line.rstrip("\n") != line.rstrip() for cell in content["cells"] for line in cell["source"])
    assert path.stat().st_size < 20_000


def test_docs_notebooks_are_one_for_each_mission():
    assert set(BY_NAME) == {"brain", "sections", "slices"}


def test_docs_notebooks_brain_finds_the_tile_and_the_flat():
    names, cells = run("brain")
    off = np.abs(np.subtract(names["found"].offset_px, names["true"]))
    assert (off < 0.25).all() and (off < 4 * np.array(names["found"].standard_error_px)).all()
    assert np.abs(np.subtract(names["by_stage"], names["true"])).max() > 1
    ratio = names["ratio"]
    assert ratio.std() / ratio.mean() < 0.02
    rows = [np.std(image.mean(1) - np.convolve(np.pad(image.mean(1), 4, "edge"), np.ones(9) / 9, "valid"))
            for image in (names["frames"][0][64] / names["flat"], names["clean"][4])]  # fmt: skip
    assert rows[1] < rows[0] / 2
    assert any("True" in cell.printed for cell in cells)
    check_pictures(cells, 3)


def test_docs_notebooks_sections_finds_positions_and_faults():
    names, cells = run("sections")
    assert np.median(names["off"]) < 0.5 * np.median(np.abs(names["recorded"] - names["true"])[names["good"]])
    series = names["series"]
    wanted = {(f.fault_type, f.sections) for f in series.faults if f.fault_type in ("constant", "damaged", "swapped")}
    assert wanted <= {(fault.fault_type, fault.sections) for fault in names["faults"]}
    assert len(names["even"]) > len(names["stack"])
    check_pictures(cells, 3)


def test_docs_notebooks_slices_makes_a_round_ball_of_uneven_slices():
    names, cells = run("slices")
    stack, even = names["stack"], names["even"]
    assert [stretch.spacing_mm for stretch in stack.fit.stretches] == [1, 3]
    # In mm as high as wide, which in the slices as they lie in the files they are not.
    for planes, is_round in ((even, True), (names["slices"], False)):
        balls = ndimage.find_objects(ndimage.label(planes[:, 24] > 200)[0])
        assert len(balls) == 2
        sizes = [(z.stop - z.start, x.stop - x.start) for z, x in balls]
        assert all(abs(height - width) <= 3 for height, width in sizes) == is_round
    assert names["off"][names["at_slices"]].max() <= 0.5
    check_pictures(cells, 1)


def test_docs_notebooks_become_pages_with_what_they_print_and_draw():
    text, pictures = page_of(BY_NAME["slices"])
    assert "VARIABLE z 1, y 1, x 1 mm" in text and "GpustitchWarning: " in text
    assert set(pictures) == {"slices_0.png"} and "(slices_0.png)" in text
    bare, none = page_of(BY_NAME["slices"], is_executed=False)
    assert not none and "VARIABLE z" not in bare and "gs.judge" in bare


def test_docs_notebooks_that_fail_are_not_passed_over(tmp_path):
    broken = tmp_path / "broken.ipynb"
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": ["1 / 0"], "outputs": [], "execution_count": None}
    broken.write_text(json.dumps({"cells": [cell], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))
    with pytest.raises(ZeroDivisionError):
        executed(broken)
