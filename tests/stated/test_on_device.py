"""The program that compares statements of memory with what a true device's pool gives, and the step that runs it."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
import types

import numpy as np
import pytest

from bench.gpu_check import memory
from bench.gpu_check.step import Asked
from tests.cuda_cpu import build, shim
from tests.stated import on_device
from tests.stated.cases import CASES, Case

FEW = {name: CASES[name] for name in ("downsample", "planes between")}


@pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "the emulator works")
def test_what_takes_more_than_it_states_is_found(monkeypatch, capsys):
    def half(case, arguments):
        said, hidden = stated(case, arguments)
        return (said - (1 << 20) if case is more else said), hidden

    more, stated = dataclasses.replace(CASES["otsu"]), on_device.stated
    monkeypatch.setattr(on_device, "CASES", FEW)
    with shim.installed():
        assert on_device.main() == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["case"].partition(",")[0] for line in lines] == [name for name in FEW for _ in range(2)]
        assert all(0 < line["taken"] <= line["stated"] for line in lines)
        assert on_device.main(["--once"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == len(FEW)
        monkeypatch.setattr(on_device, "CASES", {**FEW, "too little": more})
        monkeypatch.setattr(on_device, "stated", half)
        assert on_device.main() == 1
    wrong = [json.loads(line)["wrong"] for line in capsys.readouterr().out.splitlines()]
    assert wrong == [False] * 4 + [True] * 2


def test_a_pool_is_watched_by_its_hook():
    class Hook:
        """As CuPy's: the innermost one hears of what the pool does."""

        current = None

        def __enter__(self):
            Hook.current = self
            return self

        def __exit__(self, *_):
            Hook.current = None

    def pool(changes):
        for change in changes if Hook.current else ():
            happens = Hook.current.malloc_postprocess if change > 0 else Hook.current.free_postprocess
            happens(device_id=0, size=1, mem_size=abs(change), mem_ptr=1, pmem_id=1)

    rng = np.random.default_rng(7)
    changes = (rng.integers(1, 9, 50) * rng.choice([-1, 1], 50)).tolist()
    cupy = types.SimpleNamespace(asarray=lambda a: a, cuda=types.SimpleNamespace(MemoryHook=Hook))
    assert on_device.taken(cupy, Case(pool, list), [changes]) == max(0, np.cumsum(changes).max())


@pytest.mark.parametrize(("wrong", "code"), [(False, 0), (True, 1), (False, 3)])
def test_the_step_fails_where_a_case_does(tmp_path, monkeypatch, wrong, code):
    lines = [{"case": "a", "stated": 4, "taken": 3, "wrong": False}, {"case": "b", "error": "lost", "wrong": wrong}]
    text = "".join(f"print('{json.dumps(line)}')\n" for line in lines) + f"import sys\nsys.exit({code})"
    monkeypatch.setattr(memory, "command", lambda *_, **__: [sys.executable, "-c", text])
    monkeypatch.setattr(memory, "device_of", lambda: None)
    asked = Asked(tmp_path / "rows.jsonl", 10, True, time.monotonic())
    if code:
        with pytest.raises(AssertionError, match=rf"{int(wrong)} of 2 cases take more .*exit code {code}"):
            memory.memory(asked)
    else:
        memory.memory(asked)
    rows = [json.loads(line) for line in asked.rows.read_text().splitlines()]
    assert [row["what"] for row in rows] == ["a", "b"] and "share" in rows[0] and rows[1]["error"] == "lost"
