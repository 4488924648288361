"""What a bar shows is what was measured, by a clock that the test moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpustitch.cli.state import State
from tests.running.readings import FakeMeter


def test_a_piece_of_work() -> None:
    meter = FakeMeter()
    state = State(meter)
    state.start("Averaging", 400, "frames")
    assert state.look().line == "Averaging: 0 %, 0 of 400 frames, 3.00 GB held, 0 s"
    meter.at_s += 10
    state.advance(100)
    look = state.look()
    assert (look.fraction, look.elapsed_s, look.left_s) == (0.25, 10, 30)
    assert look.line == (
        "Averaging: 25 %, 100 of 400 frames, 10.0 frames/s, in 2.00 GB/s, out 1.00 GB/s, 3.00 GB held, 10 s, "
        "about 30 s left"
    )
    assert state.finish() == "Averaging: 100 frames" and not state.finish()


def test_speeds_are_those_of_the_last_minute() -> None:
    meter = FakeMeter(held_bytes=None)
    state = State(meter)
    state.start("x", 10**6, "frames")
    for speed, seconds in ((100, 300), (1, 70)):
        for _ in range(seconds):
            meter.at_s += 1
            state.advance(speed)
            facts = state.look().facts
        assert facts[1] == f"{speed:.1f} frames/s"


def test_time_is_told_by_the_part_that_runs_and_by_nothing_else() -> None:
    meter = FakeMeter()
    state = State(meter)
    state.span("flat", 0, 0.2)
    meter.at_s += 100
    assert state.look().left_s is None  # nothing is counted
    state.start("Averaging", 10, "bands")
    state.advance(5)
    assert round(state.look().left_s or 0, 6) == 900  # a tenth took 100 s, if the shares are as a rule
    state.span("volume", 0.2, 1)
    state.start("stitch", 1000, "frames")
    meter.at_s += 3
    state.advance(100)
    assert state.look().left_s is None  # too short to tell
    meter.at_s += 7
    state.advance(100)
    look = state.look()
    assert (look.label, round(look.fraction, 6), round(look.left_s or 0, 6)) == ("volume", 0.36, 40)
    # What an earlier run has done takes no time, and does not make this one faster.
    resumed = State(meter)
    for name, begin, end in (("flat", 0, 0.2), ("volume", 0.2, 1)):
        resumed.span(name, begin, end)
    resumed.start("stitch", 500, "frames")
    meter.at_s += 10
    resumed.advance(250)
    assert round(resumed.look().left_s or 0, 6) == 10


steps = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.booleans()), max_size=30)


@given(steps)
def test_a_bar_only_goes_on(found: list[tuple[int, int, bool]]) -> None:
    meter = FakeMeter()
    state = State(meter)
    seen, part = [0.0], 0
    for count, seconds, is_next in found:
        if is_next and part < 10:
            state.span(f"part {part}", part / 10, (part + 1) / 10)
            part += 1
        if count % 3 == 0 and part:
            state.start("piece", 20, "frames")
        meter.at_s += seconds
        state.advance(count)
        seen.append(state.look().fraction)
        assert state.look().left_s is None or state.look().left_s >= 0  # type: ignore[operator]
    assert seen == sorted(seen) and seen[-1] <= max(part, 1) / 10


def test_lines_come_after_ten_seconds_and_then_every_minute() -> None:
    meter = FakeMeter()
    state = State(meter)
    due = []
    for second in range(200):
        if second == 1:
            state.start("x", 3, "frames")
        if state.due():
            due.append(second)
        meter.at_s += 1
    assert due == [10, 70, 130, 190]
    state.finish()
    meter.at_s += 1000
    assert not state.due()  # nothing is begun
