"""Every body against its twin's definition on a CUDA device, without pytest: ``python -m tests.kernels.on_device``.

Only what the cases themselves need is imported: a bare machine has none of the tests' other packages. The first line
that it prints says how many cases each twin has; each other line is the result of one case. All are JSON.

Cases run in worker processes. One that ends or hangs in a case is replaced: the case failed, the others go on.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import os
import pkgutil
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.gpu_check.process import THROUGH, command
from gpustitch.array import cuda_devices, kernels
from tests.kernels import cases
from tests.kernels.case import Case
from tests.kernels.compare import compare, mapped
from tests.paths import ROOT

HANGS_S = 90.0
# Cases that one worker takes at a time: neighbours share compiled bodies.
_TAKEN = 12
_MOST_ELEMENTS = 150_000


def found_cases() -> tuple[dict[str, Case], dict[str, str]]:
    """All cases by name, and the modules of cases that cannot be imported here, with the reason."""
    found, missing = {}, {}
    for module in sorted(part.name for part in pkgutil.iter_modules(cases.__path__)):
        try:
            loaded = importlib.import_module(f"{cases.__name__}.{module}")
        except ImportError as error:
            missing[module] = f"{type(error).__name__}: {error}"
        else:
            found |= {f"{module}-{case.twin}-{case.id}": case for case in loaded.CASES}
    return found, missing


def few(every: dict[str, Case]) -> dict[str, Case]:
    """For each twin its largest case of no more elements than a sanitizer handles quickly, else its smallest."""
    best: dict[str, tuple[tuple[bool, int], str]] = {}
    for name, case in every.items():
        n = sum(array.size for array in _arrays(case.arguments()))
        rank = (n > _MOST_ELEMENTS, -n if n <= _MOST_ELEMENTS else n)
        best[case.twin] = min(best.get(case.twin, (rank, name)), (rank, name))
    return {name: every[name] for _, name in best.values()}


def result_of(name: str, case: Case) -> dict[str, Any]:
    """Run a case on the device; what is wrong is its ``error``."""
    cupy, begin, error = importlib.import_module("cupy"), time.perf_counter(), ""
    try:
        twin = _twin(case.twin)
        expected = case.arguments()
        with np.errstate(all="ignore"):
            twin.definition(**expected)
        on_device = mapped(cupy.asarray, case.arguments())
        twin(**on_device)
        compare(case, expected, mapped(cupy.asnumpy, on_device))
    except Exception as raised:
        error = " ".join(f"{type(raised).__name__}: {raised}".split())[:600]
    return {"case": name, "twin": case.twin, "s": round(time.perf_counter() - begin, 4), "error": error}


@functools.cache
def _twin(name: str) -> Any:
    """The twin of that name, whose module has the name of its file of bodies."""
    if name not in kernels():
        import gpustitch

        for module in pkgutil.walk_packages(gpustitch.__path__, "gpustitch."):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
    return kernels()[name]


def _arrays(arguments: dict[str, Any]) -> Iterator[Any]:
    for value in arguments.values():
        yield from (v for v in (value if isinstance(value, list | tuple) else [value]) if isinstance(v, np.ndarray))


def in_processes(every: dict[str, Case], n_processes: int, tell: Callable[[dict[str, Any]], None]) -> None:
    """Run the cases in so many worker processes, and tell of each result."""
    names = list(every)
    work: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
    for start in range(0, len(names), _TAKEN):
        work.put(names[start : start + _TAKEN])
    lock = threading.Lock()

    def told(result: dict[str, Any]) -> None:
        with lock:
            tell(result)

    threads = [threading.Thread(target=_served, args=(work, every, told)) for _ in range(n_processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _served(work: queue.SimpleQueue[list[str]], every: dict[str, Case], tell: Callable[[dict[str, Any]], None]) -> None:
    """Give cases to one worker after another until none are left."""
    worker: subprocess.Popen[str] | None = None
    while True:
        try:
            names = work.get_nowait()
        except queue.Empty:
            break
        for name in names:
            worker = worker or _worker()
            result = _answer(worker, name)
            if result is None:
                code = worker.wait()
                how = f"exit code {code}" if code >= 0 else f"signal {-code}"
                result = {"case": name, "twin": every[name].twin, "s": 0.0, "error": f"the process ended: {how}"}
            if result["error"]:  # after some errors a device does nothing more for a process
                _end(worker)
                worker = None
            tell(result)
    if worker is not None:
        _end(worker)


def _answer(worker: subprocess.Popen[str], name: str) -> dict[str, Any] | None:
    """The result of a case; None if the worker ended, or was ended because it hung."""
    assert worker.stdin is not None and worker.stdout is not None
    guard = threading.Timer(HANGS_S, worker.kill)
    guard.start()
    try:
        worker.stdin.write(name + "\n")
        worker.stdin.flush()
        for line in worker.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
    except OSError:
        pass
    finally:
        guard.cancel()
    return None


def _worker() -> subprocess.Popen[str]:
    worker = command(__spec__.name, "--worker", through=os.environ.get(THROUGH))
    return subprocess.Popen(worker, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _end(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.wait()


def main() -> int:
    """Run the cases; 0 if all that are asked for passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="of all cases, every so many")
    parser.add_argument("--few", action="store_true", help="one case for each twin")
    parser.add_argument("--here", action="store_true", help="in this process, as a sanitizer needs it")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    every, missing = found_cases()
    if asked.worker:
        _allocations_of_their_own()
        for line in sys.stdin:
            print(json.dumps(result_of(line.rstrip("\n"), every[line.rstrip("\n")])), flush=True)
        return 0
    chosen = few(every) if asked.few else dict(list(every.items())[:: asked.every])
    devices, reason = cuda_devices()
    if not devices:
        print(f"no CUDA device: {reason}", file=sys.stderr)
        return 1
    wanted = Counter(case.twin for case in chosen.values()) + Counter(f"cases of {module}" for module in missing)
    print(json.dumps({"cases": wanted}), flush=True)
    n_wrong = 0

    def tell(result: dict[str, Any]) -> None:
        nonlocal n_wrong
        n_wrong += bool(result["error"])
        print(json.dumps(result), flush=True)

    for module, why in missing.items():
        tell({"case": f"cases of {module}", "twin": f"cases of {module}", "s": 0.0, "error": f"cannot be run: {why}"})
    if asked.here:
        _allocations_of_their_own()
        for name, case in chosen.items():
            tell(result_of(name, case))
    else:
        in_processes(chosen, asked.processes, tell)
    return 1 if n_wrong else 0


def _allocations_of_their_own() -> None:
    """Every array is an allocation of its own, so that a sanitizer, or the device itself, sees where it ends."""
    importlib.import_module("cupy").cuda.set_allocator(None)


if __name__ == "__main__":
    sys.exit(main())
