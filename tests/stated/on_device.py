"""What operations state of a device's memory, against what they take of a true one: a line of JSON for each case."""

from __future__ import annotations

import gc
import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.stated.cases import CASES, Case, mapped, stated

# CuPy's pool rounds each array up to so many bytes; so many arrays are there at the same time.
_ROUNDED, _ARRAYS = 512, 64
_SEEDS = (3, 4)


def taken(cupy: Any, case: Case, arguments: Any) -> int:
    """Bytes of the pool at most in use in a call, less those of its arguments."""
    there = [mapped(cupy.asarray, value) for value in arguments]
    for _ in range(2):  # bodies are compiled, and tables that stay are there from now on
        case.run(case.operation, *there)
    gc.collect()
    if not hasattr(cupy.cuda, "MemoryHook"):  # a stand-in
        pool = cupy.get_default_memory_pool()
        before = pool.most_used = pool.used_bytes()
        case.run(case.operation, *there)
        return int(pool.most_used - before)
    hook = _hook(cupy)
    with hook:
        case.run(case.operation, *there)
    return int(hook.most)


def _hook(cupy: Any) -> Any:
    class Hook(cupy.cuda.MemoryHook):  # type: ignore[misc, name-defined]
        """Counts what the pool gives and takes back."""

        name = "most in use"

        def __init__(self) -> None:
            self.used = self.most = 0

        def malloc_postprocess(self, **of: Any) -> None:
            self.used += of["mem_size"]
            self.most = max(self.most, self.used)

        def free_postprocess(self, **of: Any) -> None:
            self.used -= of["mem_size"]

    return Hook()


def main(arguments: Sequence[str] = ()) -> int:
    """Run all cases, each of one size if ``--once`` is given; 0 if none takes more than is stated for it."""
    cupy, n_wrong = importlib.import_module("cupy"), 0
    seeds = _SEEDS[:1] if "--once" in arguments else _SEEDS
    for name, case in CASES.items():
        for seed in seeds:
            arguments = case.make(np.random.default_rng(seed))
            line: dict[str, Any] = {"case": f"{name}, {seed}"}
            try:
                line |= {"stated": stated(case, arguments)[0], "taken": taken(cupy, case, arguments)}
                is_wrong = line["taken"] > line["stated"] + _ROUNDED * _ARRAYS
            except Exception as error:
                is_wrong, line["error"] = True, f"{type(error).__name__}: {error}"
            n_wrong += is_wrong
            print(json.dumps(line | {"wrong": is_wrong}), flush=True)
    return 1 if n_wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
