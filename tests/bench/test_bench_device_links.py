"""The counts of a link are what the engine promises, whatever its number of windows."""

from __future__ import annotations

import pytest

from bench import bench_device_links as bench
from gpustitch.oblique.align.matching import MatchOptions
from tests.cuda_cpu import build


@pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "the emulator works")
def test_each_part_of_a_link_goes_up_at_once_and_waits_once():
    few, many = (MatchOptions(sample_count=n, largest_px=(9, 9, 9)) for n in (5, 15))
    found = [bench.rows_of("", bench.linked(bench.NARROW, options)) for options in (few, many)]
    (whole, points, less), (same, _, more) = found
    assert less["part"] == more["part"] == bench.WINDOWS
    for counted in (less, more):
        assert (counted["uploads"], counted["downloads"]) == (1, 1)
        assert (counted["launches of bodies"], counted["launches of CuPy's own"]) == (4, 0)
        assert (counted["waits inside"], counted["waits at ends"]) == (0, 1)
        assert counted["MiB staged"] == 0
    assert 2 < more["MiB up"] / less["MiB up"] < 4
    assert whole == same
    # Each time that points are sought, and for each comparison, all goes up at once, and nothing waits but the end.
    for counted, most in ((points, 9), (whole, 29)):
        n = counted["uploads"]
        assert counted["waits at ends"] == counted["downloads"] == n > 0 == counted["waits inside"]
        assert counted["launches of bodies"] + counted["launches of CuPy's own"] <= most * n
        assert counted["MiB staged"] == 0
