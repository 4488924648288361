"""Free memory as the system and the container state it."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from gpustitch.running import memory


def test_the_least_of_system_and_container(tmp_path, monkeypatch):
    files = [tmp_path / name for name in ("meminfo", "max", "current")]
    files[0].write_text("MemTotal:  9000 kB\nMemAvailable:    3000 kB\n")
    monkeypatch.setattr(memory, "_SYSTEM", files[0])
    monkeypatch.setattr(memory, "_GROUPS", ((files[1], files[2]),))
    assert memory.free_bytes() == 3_072_000
    for limit, free in (("2000000", 500_000), ("1000000", 0), ("max", 3_072_000), ("99000000", 3_072_000)):
        files[1].write_text(limit)
        files[2].write_text("1500000")
        assert memory.free_bytes() == free
    assert memory.most_bytes(None) == int(0.8 * 3_072_000) and memory.most_bytes(7) == 7


def test_a_system_that_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_GROUPS", ())
    for content in ("", "MemAvailable:\n", "MemAvailable: many\n"):
        (tmp_path / "meminfo").write_text(content)
        monkeypatch.setattr(memory, "_SYSTEM", tmp_path / "meminfo")
        assert memory.free_bytes() is None and memory.most_bytes(None) is None
    monkeypatch.setattr(memory, "_SYSTEM", tmp_path / "none")
    assert memory.most_bytes(None) is None


@pytest.mark.parametrize("library", [None, SimpleNamespace()])
def test_what_was_freed_is_given_back_where_the_library_can(library, monkeypatch):
    if library is not None:
        monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    memory.give_back()
    asked = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(malloc_trim=lambda size: asked.append(size.value)))
    memory.give_back()
    assert asked == ([0] if sys.platform == "linux" else [])


_FAULTS = """
import resource
import numpy as np
from gpustitch.running.memory import keep_freed
if {kept}:
    keep_freed()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    np.empty(1 << 21, np.uint8).fill(1)
before = faults()
for _ in range(20):
    np.empty(1 << 21, np.uint8).fill(1)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what glibc keeps")
def test_freed_memory_is_kept_though_a_worker_is_told_to_give_it_back():
    told = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}
    faults = [
        int(subprocess.run([sys.executable, "-c", _FAULTS.format(kept=kept)], env=told, capture_output=True).stdout)
        for kept in (False, True)
    ]
    assert faults[0] > 20 * 256 and faults[1] < 256


def test_libraries_that_keep_nothing(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    memory.keep_freed()
