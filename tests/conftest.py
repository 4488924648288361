"""Files of tests stay with one worker; some need POSIX; how long an example of Hypothesis takes is no failure.

Nothing of what tests write must outlast the machine: it lies in memory where there is room, but in files of tests
about the file system. See :func:`synced` for what waits for the disk all the same.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings

from tests.paths import ROOT, keep_in_memory

# A busy machine is not a wrong result.
settings.register_profile("gpustitch", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gpustitch")

# For glibc in workers: freed arrays are kept for the next ones, rather than given back and mapped anew, page by page.
_KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}
_FSYNC = os.fsync
_GROUP = re.compile(r'xdist_group\("([\w-]+)"\)')
_LONG = re.compile(r"pytest\.mark\.(?:slow|long)\b")


def pytest_configure(config: pytest.Config) -> None:
    """Have each worker process multiply matrices in one thread: the workers share the cores already.

    Workers start later and inherit what is set here. They keep bytecode, as images of containers often forbid: workers
    and the processes of tests would compile all texts anew. Thousands of files are flushed, each for some milliseconds
    that tell nothing: only whether the descriptor is one is looked at. Processes that tests start flush as ever.
    """
    os.fsync = _looked_at
    n_workers = config.getoption("numprocesses", None)
    if not config.getoption("basetemp", None):
        keep_in_memory(n_workers or 1)
    if n_workers:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(name, "1")
        for name, value in _KEPT_MEMORY.items():
            os.environ.setdefault(name, value)
    elif hasattr(config, "workerinput"):
        # It was read when the worker started: processes that tests start are as users start them.
        for name, value in _KEPT_MEMORY.items():
            if os.environ.get(name) == value:
                del os.environ[name]


def _looked_at(descriptor: Any) -> None:
    """In place of a flush to the disk: fail as it does where there is no such file."""
    os.fstat(descriptor if isinstance(descriptor, int) else descriptor.fileno())


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and folders are flushed to the disk as outside of tests."""
    monkeypatch.setattr(os, "fsync", _FSYNC)


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
    """Give each file to one worker, and to the same one all files that say ``xdist_group("name")``.

    Fixtures and what is cached are then made once. xdist 3.8 writes a test's group into its id, which pytest 9.2 does
    not let it do; with thousands of tests as units of their own it takes a while to know what is left.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class ByFile(LoadGroupScheduling):
        def add_node_collection(self, node: Any, collection: Any) -> None:
            super().add_node_collection(node, collection)
            for known, names in self.registered_collections.items():
                if not isinstance(names, _Names):
                    self.registered_collections[known] = _Names(names)

        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return _group_of(file) or file

        def _pending_of(self, workload: Any) -> int:
            # Units are worked off in order: before one that is finished none is left.
            pending = 0
            for unit in reversed(workload.values()):
                left = list(unit.values()).count(False)
                if not left:
                    break
                pending += left
            return pending

    # In the order in which tests are collected, see below.
    config.option.loadscopereorder = False
    return ByFile(config, log)


class _Names(list[str]):
    """Names of tests, of which each is found at once: there are thousands."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self._places = {name: place for place, name in enumerate(names)}

    def index(self, name: str, *_: Any) -> int:
        return self._places[name]


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Have a worker send what a test came to, and no word of a setup or teardown that passed unless asked for."""
    option = item.config.option
    asked = option.durations is not None or option.xmlpath
    if not hasattr(item.config, "workerinput") or asked:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@functools.cache
def _text_of(file: str) -> str:
    """The text of a file of tests."""
    return (ROOT / file).read_text()


@functools.cache
def _group_of(file: str) -> str:
    """The group that a file of tests names; empty if none."""
    found = _GROUP.search(_text_of(file))
    return found[1] if found else ""


def _long_first(items: list[pytest.Item]) -> None:
    """Long files and those with a group, then the others, those with many tests first: short ones fill up the end."""
    files = [item.nodeid.partition("::")[0] for item in items]
    count = Counter(files)
    long = {file: bool(_group_of(file) or _LONG.search(_text_of(file))) for file in count}
    ranked = sorted(zip(files, items, strict=True), key=lambda pair: (not long[pair[0]], -count[pair[0]], pair[0]))
    items[:] = [item for _, item in ranked]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order what workers run; skip what is marked ``posix`` where there is none."""
    if hasattr(config, "workerinput"):
        _long_first(items)
    if os.name == "posix":
        return
    for item in items:
        if item.get_closest_marker("posix"):
            item.add_marker(pytest.mark.skip(reason="needs a POSIX system"))
