"""The public names of ``import gpustitch as gs``."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import gpustitch as gs

# A name or a parameter that goes or changes breaks notebooks.
SIGNATURES = {
    "open_frames": "path **how",
    "open_planes": "path **how",
    "open_volume": "path spacing_um **how",
    "open_output": "path shape dtype spacing_um **how",
    "flat_field": "frames dark **how",
    "destripe": "image sigma *wavelet *level *notch_length_px *method *flat *dark **how",
    "deskew": "frames pixel_um step_um angle_deg correction *start *stop *rotate_90 *flip_ud",
    "align": "fixed moving offset_px *spacing_um *search_px **how",
    "stitch": "tiles positions_um spacing_um *last_to_first **how",
    "pipeline": "channel output **how",
    "similarity": "sections max_lag *register *no_data *high_pass **how",
    "z_positions": "sections max_lag **how",
    "find_faults": "similarity positions",
    "render": "sections positions z_spacing *nearest *max_gap *fill_gaps *leave_out *least_weight",
    "judge": "paths **how",
    "resample_slices": (
        "source *spacing_mm *series *fill_gaps *stretches *unshear *nearest *background *pixel_spacing_mm **how"
    ),
    "downsample": "volume method factors",
    "write": "path volume spacing_um **how",
    "choose_device": "spec memory_bytes",
    "to_device": "array device",
    "to_host": "array",
}
CLASSES = {"Box", "Spacing", "ObliqueScan", "ObliqueTile", "Correction", "GpustitchError", "GpustitchWarning"}
_MARKS = {inspect.Parameter.KEYWORD_ONLY: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def test_gpustitch_names_are_these():
    assert set(gs.__all__) == {*SIGNATURES, *CLASSES, "__version__"}
    assert set(gs.__all__) <= set(dir(gs))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = gs.no_such_name


@pytest.mark.parametrize("name", SIGNATURES)
def test_gpustitch_signatures_are_these(name):
    parameters = inspect.signature(getattr(gs, name)).parameters.values()
    assert " ".join(_MARKS.get(p.kind, "") + p.name for p in parameters) == SIGNATURES[name]
    assert inspect.getdoc(getattr(gs, name))


def test_gpustitch_classes_are_classes():
    assert all(inspect.isclass(getattr(gs, name)) for name in CLASSES)


def test_gpustitch_stub_names_the_homes_of_all():
    stub = ast.parse(Path(gs.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imported = {
        a.asname: node.module for node in ast.walk(stub) if isinstance(node, ast.ImportFrom) for a in node.names
    }
    assert set(imported) == {*SIGNATURES, *CLASSES}
    for name, home in imported.items():
        assert getattr(importlib.import_module(home), name) is getattr(gs, name)
    listed = next(node.value for node in stub.body if isinstance(node, ast.Assign))
    assert set(ast.literal_eval(listed)) == set(gs.__all__)


def test_gpustitch_names_hide_no_module():
    assert not [name for name in gs.__all__ if importlib.util.find_spec(f"gpustitch.{name}")]


def test_gpustitch_loads_nothing_before_it_is_asked_for():
    code = (
        "import sys, gpustitch; print(sorted({'numpy', 'scipy', 'tensorstore', 'pydicom', 'zarr'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
