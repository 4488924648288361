"""The counts of a link are what the engine promises, whatever its number of windows."""

from __future__ import annotations

import pytest

from bench import bench_device_links as bench
from gpustitch.oblique.align.matching import MatchOptions
from tests.cuda_cpu import build


@pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "the emulator works")
def test_windows_of_a_link_are_one_upload_four_launches_and_one_wait():
    rows = [
        {row["part"]: row for row in bench.rows_of("", bench.linked(bench.NARROW, MatchOptions(sample_count=n, largest_px=(9, 9, 9))))}
        for n in (5, 15)
    ]
    windows = [of_case[bench.WINDOWS] for of_case in rows]
    for counted in windows:
        assert (counted["uploads"], counted["downloads"]) == (1, 1)
        assert (counted["launches of bodies"], counted["launches of CuPy's own"]) == (4, 0)
        assert (counted["waits inside"], counted["waits at ends"]) == (0, 1)
        assert counted["MiB staged"] == 0
    assert 2 < windows[1]["MiB up"] / windows[0]["MiB up"] < 4
    assert rows[0][bench.WHOLE] == rows[1][bench.WHOLE] and rows[0][bench.WHOLE]["uploads"] > 0
