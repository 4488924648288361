"""The bench of CUDA bodies runs and says what it must, so that it does on the day there is a GPU."""

from __future__ import annotations

import json
import sys

import pytest

from bench import bench_cuda, common, cuda_rows
from tests.cuda_cpu import build, shim

SMALL = {
    "FRAMES": (40, 6, 8), "COUNTED": (5, 4, 20), "DESTRIPED": (2, 40, 44), "VOLUME": (4, 6, 10),
    "WINDOWS": {21: 1, 51: 1}, "FUSED": (4, 6, 8), "PLANES": (5, 6, 7), "MAX_LAG": 3, "RENDERED": (6, 5, 7),
}  # fmt: skip


@pytest.fixture
def small(monkeypatch, tmp_path):
    for name, value in SMALL.items():
        monkeypatch.setattr(cuda_rows, name, value)
    monkeypatch.setattr(bench_cuda, "COPIED_BYTES", 1 << 12)
    monkeypatch.setattr(bench_cuda, "MATRIX", 8)
    monkeypatch.setattr(bench_cuda, "WARM_UP", 0)
    monkeypatch.setattr(bench_cuda, "LAUNCHES", 2)
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    return tmp_path


@pytest.mark.skipif(bool(build.why_not()), reason=build.why_not())
def test_every_row_is_measured_and_stored(small):
    with shim.installed():
        bench_cuda.main()
    (file,) = small.glob("cuda_*.json")
    rows = json.loads(file.read_text())["rows"]
    assert len(rows) == 3 + len(cuda_rows.ROWS)
    assert all(row["ms"] > 0 and row["floor_ms"] > 0 for row in rows[3:])


def test_without_a_device_it_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    bench_cuda.main()
    assert capsys.readouterr().out.startswith("no CUDA device: CuPy is not installed")
