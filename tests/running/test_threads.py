"""The bounded pool keeps order, bounds and errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpustitch.array import cpu_count
from gpustitch.errors import ParameterError
from gpustitch.running.progress import SILENT, tracked
from gpustitch.running.threads import checked_workers, helped, ordered_map


def test_results_come_in_order() -> None:
    assert list(ordered_map(lambda v: v * v, range(100), 4)) == [v * v for v in range(100)]


def test_items_are_drawn_no_further_than_the_bound() -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for value in range(100):
            drawn += 1
            yield value

    results = ordered_map(lambda v: v, items(), 2, in_flight=3)
    for taken in range(10):
        next(results)
        assert drawn <= taken + 1 + 3


def test_the_first_error_comes_out_and_later_work_is_dropped() -> None:
    gate = threading.Event()
    ran: list[int] = []

    def work(value: int) -> int:
        if value == 0:
            raise ValueError("first")
        gate.wait(5)
        ran.append(value)
        return value

    with pytest.raises(ValueError, match="first"):
        for _ in ordered_map(work, _opening(gate), 1, in_flight=8):
            pass
    assert len(ran) < 8


def _opening(gate: threading.Event) -> Iterator[int]:
    yield from range(8)
    gate.set()
    yield from range(8, 50)


def test_workers_are_one_for_each_cpu_or_as_many_as_asked() -> None:
    assert checked_workers(None) == cpu_count() >= 1
    assert checked_workers(3) == 3
    with pytest.raises(ParameterError, match="at least 1"):
        checked_workers(0)


def test_tracked_advances_once_per_item_and_finishes_on_errors() -> None:
    calls: list[str] = []

    class Recorder:
        def start(self, label: str, total: int, unit: str) -> None:
            calls.append(f"start {label} {total} {unit}")

        def advance(self, count: int = 1) -> None:
            calls.append("advance")

        def finish(self) -> None:
            calls.append("finish")

        def warn(self, message: str) -> None: ...

        def note(self, message: str) -> None:
            calls.append(message)

    for item in tracked([1, 2], Recorder(), "work", 2, "pieces"):
        assert item in (1, 2)
    assert calls == ["start work 2 pieces", "advance", "advance", "finish"]
    assert list(tracked([1], SILENT, "", 1, "")) == [1]


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("n", [0, 1, 2, 30])
def test_all_items_are_done_once_by_the_caller_and_idle_threads(n_threads: int, n: int) -> None:
    done: list[int] = []
    with ThreadPoolExecutor(n_threads) as pool:
        helped(pool, done.append, range(n))
        assert sorted(done) == list(range(n))


def test_a_pool_that_is_full_of_callers_helps_none_and_all_get_done() -> None:
    done: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: helped(pool, lambda k: done.append(100 * n + k), range(20)), range(4), timeout=20))
    assert sorted(done) == [100 * n + k for n in range(4) for k in range(20)]


def test_idle_threads_help() -> None:
    both = threading.Barrier(2, timeout=20)
    with ThreadPoolExecutor(1) as pool:
        helped(pool, lambda _: both.wait(), range(2))


@pytest.mark.parametrize("bad", [0, 7])
def test_an_error_ends_the_work_and_is_raised_after_what_was_begun(bad: int) -> None:
    ended: list[int] = []

    def work(n: int) -> None:
        if n == bad:
            raise ValueError(f"bad {n}")
        ended.append(n)

    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(ValueError, match=f"bad {bad}"):
            helped(pool, work, range(1000))
        n_ended = len(ended)
        assert n_ended < 999
    assert len(ended) == n_ended
