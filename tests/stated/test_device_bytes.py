"""What operations state of their device's memory, against what they take on the stand-in for CuPy, over sizes."""

from __future__ import annotations

import copy
import gc
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import gpustitch
from gpustitch.array.stated import statements, states
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.ops.smooth import smooth
from tests.cuda_cpu import module, shim
from tests.stated.cases import CASES, mapped, stated

# A statement is at most so many times what is taken, beside small tables.
MOST, TABLES = 2.0, 1 << 14
# Cases that take memory for as much as they find.
OF_RESULTS = ("correlation",)
# Modules that compute on a device and state nothing, and why.
NO_STATEMENT = {
    "gpustitch.verbs": "calls of operations",
    "gpustitch.oblique.stream": "holds what a plan of the pass foretells",
    "gpustitch.oblique.destripe": "parts of operations that are stated",
    "gpustitch.oblique.align.shifts": "strips are binned to a bounded number of voxels",
    "gpustitch.sections.grid": "its block of planes is planned in memory_bytes",
    "gpustitch.sections.similarity": "parts of the comparison, planes of a chunk at a time",
    "gpustitch.regrid.plane_shift": "a plane at a time",
    "gpustitch.regrid.empty_pixels": "the sections of a block as float32, and its planes",
}


def taken(case, arguments, *, executes=True):
    """Bytes of the stand-in's memory at most in use in a call, less those of its arguments."""
    with shim.installed():
        there = [mapped(shim.asarray, value) for value in copy.deepcopy(arguments)]
        with module.settings(executes=False):
            case.run(case.operation, *there)  # tables that stay for later calls are there from now on
        there = [mapped(shim.asarray, value) for value in copy.deepcopy(arguments)]
        gc.collect()
        before = shim.POOL.most_used = shim.POOL.used_bytes()
        with module.settings(executes=executes):
            case.run(case.operation, *there)
        return shim.POOL.most_used - before


@pytest.mark.skipif(bool(module.why_not()), reason=module.why_not() or "the emulator works")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [3, 4])
def test_what_is_stated_is_taken(name, seed):
    case = CASES[name]
    arguments = case.make(np.random.default_rng(seed))
    # What bodies compute matters to what few cases take; of the others one size tells that it does not.
    (said, hidden), most = stated(case, arguments), taken(case, arguments, executes=seed == 3 or name in OF_RESULTS)
    assert said >= most, f"{name}: {most / said:.2f} of what is stated is taken"
    assert said - hidden <= MOST * most + TABLES, f"{name}: only {most / (said - hidden):.2f} is taken"


def test_every_statement_has_a_case_and_the_arguments_of_its_operation():
    assert {case.operation for case in CASES.values()} == set(statements())
    for operation, statement in statements().items():
        names = [list(inspect.signature(f).parameters) for f in (operation, statement)]
        assert names[0][operation is Correction.apply :] == names[1][operation is Correction.apply :], operation


def test_every_module_that_computes_on_a_device_has_a_statement():
    stated = {operation.__module__ for operation in statements()}
    root = Path(gpustitch.__file__).parent
    computing = {
        ".".join(path.relative_to(root.parent).with_suffix("").parts)
        for path in root.rglob("*.py")
        if re.search(r"\b(namespace|scipy_of|skimage_of)\(", path.read_text("utf-8")) and path.parent.name != "array"
    }
    without = {name for name in computing - stated if not name.startswith(tuple(NO_STATEMENT))}
    assert not without, "state what these take, or say why they state nothing"
    assert all(any(name.startswith(room) for name in computing) for room in NO_STATEMENT)


def test_an_operation_has_one_statement():
    with pytest.raises(ValueError, match="smooth has two statements"):
        states(smooth)(lambda *_: 1)
