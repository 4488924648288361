"""Groups of tests stay with one worker; some need POSIX; how long an example of Hypothesis takes is no failure."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.paths import ROOT

# A busy machine is not a wrong result.
settings.register_profile("gpustitch", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gpustitch")

_GROUP = re.compile(r'xdist_group\("([\w-]+)"\)')


def pytest_configure(config: pytest.Config) -> None:
    """Have each worker process multiply matrices in one thread: the workers share the cores already.

    Workers start later and inherit what is set here.
    """
    if config.getoption("numprocesses", None):
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(name, "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Have each of several workers import its share of the files first: the others find their bytecode.

    All import all files, in the same order. In a fresh checkout each would rewrite the assertions of every one.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker is None or [Path(name).resolve() for name in session.config.args] != [ROOT / "tests"]:
        return
    number, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    for file in sorted((ROOT / "tests").rglob("test_*.py"))[number::count]:
        # Collecting tells why a file cannot be imported.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))


def pytest_collection_finish() -> None:
    """Leave what is collected out of collections of garbage: all of it stays to the end."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give files that say ``xdist_group("name")`` to one worker, whose fixtures are then made once.

    xdist 3.8 writes a test's group into its id, which pytest 9.2 does not let it do.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class ByFile(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group_of(nodeid.partition("::")[0]) or super()._split_scope(nodeid)

    return ByFile(config, log)


@functools.cache
def _group_of(file: str) -> str:
    """The group that a file of tests names; empty if none."""
    found = _GROUP.search((ROOT / file).read_text())
    return found[1] if found else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked ``posix`` where there is none."""
    if os.name == "posix":
        return
    for item in items:
        if item.get_closest_marker("posix"):
            item.add_marker(pytest.mark.skip(reason="needs a POSIX system"))
