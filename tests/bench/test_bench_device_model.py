"""The model of a pass adds up: what it says of parts follows from counts and rates, whatever these are."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import bench_device_model as model

COUNTS = st.fixed_dictionaries({
    "method": st.sampled_from(sorted(model.DEVICE_BYTES)),
    "part": st.just("all"),
    **{name: st.floats(0, 1e4) for name in (*model.CALLS, *model.WAITS, "MiB up", "MiB staged", "MiB down")},
})  # fmt: skip
RATES = st.builds(
    model.Rates, *(st.floats(1e9, 1e13) for _ in range(2)), *(st.floats(1e-7, 1e-3) for _ in range(2)),
    st.floats(1e9, 1e11), st.floats(1e-10, 1e-8), st.integers(1, 128),
)  # fmt: skip
PARTS_OF = {"link": {"link"}, "memory": {"device"}, "copy": {"host", "staging"}}


@given(COUNTS, RATES, st.floats(1e8, 1e11))
def test_twice_a_rate_halves_its_part_and_leaves_the_others(row, rates, disk):
    before = model.parts_s(row, disk, rates)
    assert model.parts_s(row, 2 * disk, rates) == before | {"disk": pytest.approx(before["disk"] / 2)}
    for name, parts in PARTS_OF.items():
        faster = model.parts_s(row, disk, dataclasses.replace(rates, **{name: 2 * getattr(rates, name)}))
        assert all(before[part] / 2.001 <= faster[part] <= before[part] for part in parts)
        assert {k: v for k, v in faster.items() if k not in parts} == {
            k: v for k, v in before.items() if k not in parts
        }
    slower = dataclasses.replace(rates, launch=2 * rates.launch, wait=2 * rates.wait)
    assert model.parts_s(row, disk, slower)["calls"] == pytest.approx(2 * before["calls"])


@given(st.lists(COUNTS, min_size=1, max_size=3), RATES)
def test_the_slowest_part_bounds(counts, rates):
    rows = model.rows_of("now", [*counts, {**counts[0], "part": "fuse"}], rates)
    assert len(rows) == len(counts) * len(model.DISKS)
    for row in rows:
        parts = {name.removesuffix(" ms"): value for name, value in row.items() if name.endswith(" ms")}
        assert parts[row["bound"]] == max(parts.values())
        assert row["of the disk's rate"] == pytest.approx(parts["disk"] / max(parts.values()))
        assert 0 < row["of the disk's rate"] <= 1


def test_the_disk_reads_and_writes_what_a_frame_and_its_voxels_are():
    row = dict.fromkeys([*model.CALLS, *model.WAITS, "MiB up", "MiB staged", "MiB down"], 0.0) | {"method": "none"}
    n_bytes = 2048 * 2048 * 2 * (1 + 1 + 1 / 8 + 1 / 64 + 1 / 512 + 1 / 4096)
    assert model.parts_s(row, 1e9)["disk"] == pytest.approx(n_bytes / 1e9, rel=1e-4)
