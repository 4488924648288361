"""Every block of Python of the documentation runs, one after the other, on small data of the names it uses."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpustitch as gs
from tests.docs_code import PAGES, python_of
from tests.docs_data import make_data

pytestmark = [
    pytest.mark.xdist_group("docs-code"),
    pytest.mark.filterwarnings("ignore::gpustitch.errors.GpustitchWarning"),
]
# Pages of recipes, whose code is of files: tests/test_docs_recipes.py executes it.
RECIPES = {f"docs/add_{what}.md" for what in ("operation", "format", "command")}
RUN = sorted(name for name, page in PAGES.items() if name not in RECIPES and python_of(page))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The data, made once."""
    folder = tmp_path_factory.mktemp("data")
    make_data(folder)
    return folder


@pytest.fixture
def place(data, tmp_path, monkeypatch):
    """A folder of its own with the data, which is the current one."""
    for item in data.iterdir():
        (tmp_path / item.name).symlink_to(item)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_library(names: dict[str, Any]) -> None:
    assert names["tile"].shape == gs.open_volume("upright").shape == (96, 64, 185)
    assert names["block"].shape == (10, 64, 30)
    assert names["found"].is_found
    assert np.abs(np.subtract(names["found"].offset_px, (0, 0, 40))).max() < 0.3
    np.testing.assert_array_equal(np.asarray(names["again"]), np.asarray(names["whole"]))
    assert len(names["even"]) == 79


def check_geometry(names: dict[str, Any]) -> None:
    scan = names["scan"]
    assert scan.shape == (48, 64, 147)
    assert scan.spacing.zyx_um == pytest.approx((1.8 / 2**0.5, 1.8, 1.28))
    assert scan.shear == pytest.approx(1.8 / 2**0.5 / 1.28)


def check_errors(names: dict[str, Any]) -> None:
    text, parameter, code = names["refused"]
    assert "-1.8" in text and (parameter, code) == ("pixel_um", 3)


def check_destriping(names: dict[str, Any]) -> None:
    before, after = names["rows"]
    assert 80 < before < 120 and after < before / 3


def check_readme(names: dict[str, Any]) -> None:
    assert names["clean"].shape == (8, *names["frames"].shape[1:])
    np.testing.assert_array_equal(np.asarray(gs.open_volume("tile.zarr")), np.asarray(names["tile"]))


# What the text beside the code says of its results.
CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "README.md": check_readme,
    "docs/destriping.md": check_destriping,
    "docs/errors.md": check_errors,
    "docs/geometry.md": check_geometry,
    "docs/library.md": check_library,
}


@pytest.mark.parametrize("name", RUN)
def test_docs_code_of_a_page_runs_and_gives_what_the_page_says(name, place):
    names: dict[str, Any] = {}
    for block in python_of(PAGES[name]):
        exec(compile(block, name, "exec"), names)
    if name in CHECKS:
        CHECKS[name](names)


def test_docs_code_of_every_check_is_run():
    assert set(CHECKS) <= set(RUN)


# The functions in ``gpustitch.verbs``.
HOMES = {name: getattr(getattr(gs, name), "__module__", "") for name in gs.__all__}
CALLS = sorted(name for name, home in HOMES.items() if home.startswith("gpustitch.verbs"))


@pytest.mark.parametrize("name", CALLS)
def test_docs_code_of_every_call_says_what_it_takes_gives_and_raises(name):
    call = getattr(gs, name)
    text = inspect.getdoc(call) or ""
    parts = dict(re.findall(r"^(\w+)\n-+\n((?:.*\n?)*?)(?=^\w+\n-+$|\Z)", text, re.MULTILINE))
    assert list(parts) == ["Parameters", "Returns", "Raises", "Examples"]
    named = " ".join(re.findall(r"^\S.*", parts["Parameters"], re.MULTILINE))
    assert set(re.findall(r"\w+", named)) == set(inspect.signature(call).parameters)
    # A type in a line of its own, and below it what is returned.
    assert re.match(r"\S[^.\n]*\n    \S", parts["Returns"])


@pytest.mark.parametrize("name", [*CALLS, "Box", "Spacing"])
def test_docs_code_of_examples_runs_and_gives_what_they_show(name, place):
    call = getattr(gs, name)
    (found,) = doctest.DocTestFinder(recurse=False).find(call, name, module=importlib.import_module(HOMES[name]))
    assert found.examples
    assert doctest.DocTestRunner().run(found).failed == 0
