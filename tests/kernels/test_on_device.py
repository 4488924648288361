"""The program that runs the cases without pytest: what it says, and what becomes of workers that end or hang."""

from __future__ import annotations

import sys

import pytest

from tests.cuda_cpu import build, shim
from tests.kernels import on_device
from tests.kernels.case import Case

needs_emulator = pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "the emulator works")
CASES, MISSING = on_device.found_cases()

# Workers that answer as told: the names of cases say what to do.
WORKER = """
import json, os, sys, time
for line in sys.stdin:
    name = line.strip()
    if name.startswith("ends"):
        os._exit(7)
    if name.startswith("hangs"):
        time.sleep(60)
    print("a word of a library", flush=True)
    error = "values differ" if name.startswith("differs") else ""
    print(json.dumps({"case": name, "twin": "t", "s": 0.5, "error": error, "pid": os.getpid()}), flush=True)
"""


def test_the_cases_are_those_of_the_tests():
    from tests.kernels.test_parity import CASES as of_pytest

    assert CASES.keys() == of_pytest.keys() and not MISSING


def test_one_case_of_each_twin_is_large_but_not_too_large():
    chosen = on_device.few(CASES)
    assert {case.twin for case in chosen.values()} == {case.twin for case in CASES.values()}
    assert len(chosen) == len({case.twin for case in chosen.values()})


def test_cases_whose_module_lacks_a_package_are_told_of(monkeypatch):
    monkeypatch.setitem(sys.modules, "tests.kernels.cases.dwt", None)
    found, missing = on_device.found_cases()
    assert set(missing) == {"dwt"} and 0 < len(found) < len(CASES)


@needs_emulator
@pytest.mark.parametrize("name", [name for name in CASES if "halve-ties uint8" in name])
def test_a_result_is_right_only_if_body_and_definition_agree(name, monkeypatch):
    case = CASES[name]
    with shim.installed():
        assert on_device.result_of(name, case)["error"] == ""
        less = {"made": 0}

        def other():
            """Arguments that differ from call to call: what the two make of them differs too."""
            less["made"] += 1
            arguments = case.arguments()
            arguments["volume"] += less["made"] * 8
            return arguments

        wrong = on_device.result_of(name, Case(case.twin, case.id, other))
    assert wrong["error"].startswith("AssertionError") and wrong["twin"] == case.twin


@pytest.mark.posix
def test_a_worker_that_ends_or_hangs_is_replaced(monkeypatch):
    monkeypatch.setattr(on_device, "HANGS_S", 1.5)
    monkeypatch.setattr(on_device, "command", lambda *_, **__: [sys.executable, "-c", WORKER])
    names = ["good 1", "ends 1", "good 2", "differs 1", "good 3", "hangs 1", *(f"good {n}" for n in range(4, 30))]
    told = []
    on_device.in_processes(dict.fromkeys(names, Case("t", "", dict)), 2, told.append)
    by_name = {result["case"]: result for result in told}
    assert sorted(by_name) == sorted(names) and len(told) == len(names)
    wrong = {name: result["error"] for name, result in by_name.items() if result["error"]}
    assert wrong == {
        "ends 1": "the process ended: exit code 7",
        "differs 1": "values differ",
        "hangs 1": "the process ended: signal 9",
    }
    assert by_name["good 2"]["pid"] != by_name["good 1"]["pid"], "another worker goes on"
    assert by_name["good 3"]["pid"] != by_name["differs 1"]["pid"], "a device may do nothing more for the first"
