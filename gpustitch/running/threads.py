"""A bounded pool of threads: NumPy, SciPy, zlib and tensorstore all release the interpreter lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from gpustitch.array import CPU, Device, cpu_count
from gpustitch.errors import ParameterError

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """``n`` threads, which compute on ``device``."""

    n: int
    device: Device = CPU


def checked_workers(n_workers: int | None) -> int:
    """``n_workers``, or one for each CPU if it is None.

    Raises
    ------
    ParameterError
        If ``n_workers`` is less than one.
    """
    workers = cpu_count() if n_workers is None else n_workers
    if workers < 1:
        raise ParameterError(f"`n_workers` must be at least 1, not {workers}")
    return workers


def capped_workers(n_workers: int, n_pieces: int) -> int:
    """Threads that find something to do in work of ``n_pieces`` pieces: at least one."""
    return max(1, min(n_workers, n_pieces))


def ordered_map(
    function: Callable[[S], T], items: Iterable[S], n_workers: int, *, in_flight: int | None = None
) -> Iterator[T]:
    """Results of ``function`` in the order of ``items``; at most ``in_flight`` (2 per worker) of them wait.

    The first error is raised where its result would be yielded. Work not begun by then is dropped.
    """
    limit = in_flight or 2 * n_workers
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(n_workers, thread_name_prefix="gpustitch") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= limit:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def helped(pool: ThreadPoolExecutor, function: Callable[[S], object], items: Iterable[S]) -> None:
    """Call ``function`` for each item, in this thread and, meanwhile, in those of ``pool`` that are idle.

    All calls have ended when this returns. It waits for no thread that has not begun, so ``pool`` may be busy with its
    own callers. The first error is raised; what was not begun by then is dropped.
    """
    left = deque(items)

    def work() -> None:
        while True:
            try:
                item = left.popleft()
            except IndexError:
                return
            try:
                function(item)
            except BaseException:
                left.clear()
                raise

    helpers = [pool.submit(work) for _ in range(len(left) - 1)]
    try:
        work()
    finally:
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()
