"""Parts sum to the run, and nothing is called the cause that was not measured."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.running.measured import WHOLE, Part, table
from gpustitch.running.meter import Used

_COUNTS = ("bytes_in", "bytes_out", "disk_bytes_in", "disk_bytes_out")
whole_numbers = st.integers(0, 10**13)


@st.composite
def moments(draw: st.DrawFn) -> list[Used]:
    """Readings of a run, each later than the one before; some systems do not say all."""
    known = {name: draw(st.booleans()) for name in _COUNTS}
    found = [
        Used(draw(st.integers(0, 10**6)), 0, **{name: 0 if is_known else None for name, is_known in known.items()})
    ]
    for _ in range(draw(st.integers(2, 7))):
        last = found[-1]
        more = {name: getattr(last, name) + draw(whole_numbers) if known[name] else None for name in _COUNTS}
        cpu_s = last.cpu_s + draw(st.integers(0, 10**6))
        found.append(Used(last.at_s + draw(st.integers(0, 10**6)), cpu_s, **more))
    return found


@given(moments(), st.data())
def test_parts_and_what_is_in_none_sum_to_the_run(found: list[Used], data: st.DataObject) -> None:
    measured = data.draw(st.lists(st.booleans(), min_size=len(found) - 1, max_size=len(found) - 1))
    pairs = zip(found, found[1:], measured, strict=False)
    parts = [Part.between("part", a, b, None) for a, b, is_part in pairs if is_part]
    whole = Part.between(WHOLE, found[0], found[-1], None)
    rows = [*parts, whole.without(parts)]
    for name in ("seconds", "cpu_s", *_COUNTS):
        values = [getattr(row, name) for row in rows]
        expected = getattr(whole, name)
        assert sum(values) == expected if expected is not None else None in values
    records = [row.record(2, whole.seconds) for row in rows]
    assert sum(record["share"] for record in records) == pytest.approx(1 if whole.seconds else 0)
    assert json.loads(json.dumps(records)) == records
    lines = list(table(parts, whole, 2))
    assert len(lines) == 3 + sum(part.seconds > 0 for part in parts) and max(map(len, lines)) <= 120


TEN_S = Part("part", 10, 0, 10**9, None, 1, 0, stalled_s=0, queued_s=0, peak_bytes=None)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"cpu_s": 36}, "CPU"),
        ({"cpu_s": 36, "stalled_s": 9, "queued_s": 9}, "CPU"),
        ({"cpu_s": 20, "stalled_s": 4}, "disk"),
        ({"cpu_s": 20, "stalled_s": 4, "disk_bytes_in": 0}, "waiting"),  # others waited for their disks
        ({"cpu_s": 20, "stalled_s": 4, "disk_bytes_in": None, "disk_bytes_out": None}, "waiting"),
        ({"cpu_s": 20, "stalled_s": None, "queued_s": None}, "waiting"),
        ({"cpu_s": 10, "queued_s": 6}, "busy CPU"),
        ({"cpu_s": 10}, "one thread"),
        ({"cpu_s": 2}, "waiting"),
        ({"seconds": 0.1, "cpu_s": 0.4}, ""),
    ],
)
def test_the_cause_is_what_the_measures_support(changed: dict[str, float], expected: str) -> None:
    part = dataclasses.replace(TEN_S, **changed)
    assert part.bound_by(4) == expected
    assert part.record(4, 20)["bound_by"] == (expected or None)


def test_the_memory_of_a_part_is_the_most_that_anything_says() -> None:
    def peak(before: Used, after: Used, seen: int | None) -> int | None:
        return Part.between("part", before, after, seen).peak_bytes

    held = [Used(0, 0, held_bytes=5, peak_bytes=90), Used(1, 0, held_bytes=6, peak_bytes=90)]
    assert peak(*held, None) == 6 and peak(*held, 8) == 8
    assert peak(held[0], dataclasses.replace(held[1], peak_bytes=91), 8) == 91  # it has grown meanwhile
    assert peak(Used(0, 0), Used(1, 0), None) is None


def test_the_table_says_what_was_done_and_leaves_out_what_an_earlier_run_did() -> None:
    volume = dataclasses.replace(TEN_S, name="volume", cpu_s=36, done={"frames": 1234, "overlaps": 4})
    kept = dataclasses.replace(TEN_S, name="alignment", seconds=0, is_kept=True)
    whole = dataclasses.replace(TEN_S, name=WHOLE, seconds=12.5, cpu_s=36)
    long = list(table([dataclasses.replace(volume, name="Verifying /a/very/long/path")], whole, 4))
    assert long[1].startswith("Verifying /a/very/lon...     10.0") and long[2].startswith(f"other{' ' * 19}  ")
    assert list(table([kept, volume], whole, 4)) == [
        "part     seconds  share  GB/s in    out  CPUs  bound by",
        "volume      10.0   80 %    0.100      -   3.6  CPU         123.4 frames/s, 4 overlaps",
        "other        2.5   20 %    0.000      -   0.0  waiting",
        "the run     12.5  100 %    0.080      -   2.9  waiting",
    ]
