"""Running Python so that bodies compiled with sanitizers can be loaded into it."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.cuda_cpu import build, module
from tests.paths import ROOT

_LIBRARIES = ("libasan.so", "libubsan.so", "libstdc++.so.6")


@functools.cache
def why_not() -> str:
    """Why sanitizers cannot be used here; empty where they can."""
    if build.compiler() is None:
        return build.why_not()
    missing = [name for name in _LIBRARIES if not _path(name).is_absolute()]
    return f"{build.compiler()} comes without {', '.join(missing)}" if missing else ""


def run_python(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run Python with sanitized bodies in the root of the repository.

    Python itself is not instrumented: the sanitizers' libraries have to be there before it starts, and what it never
    frees is not looked for. Bodies neither allocate nor free: who did is not noted, and little that is freed is kept.
    Plugins of pytest are left out: to import them takes a while with sanitizers.
    """
    environment = os.environ | {
        "LD_PRELOAD": ":".join(str(_path(name)) for name in _LIBRARIES),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:malloc_context_size=0:quarantine_size_mb=4",
        "UBSAN_OPTIONS": "print_stacktrace=0",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        module.SANITIZED: "1",
    }
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@functools.cache
def _path(name: str) -> Path:
    """Where the compiler finds a library; the name itself if it does not."""
    command = [build.compiler() or "", f"-print-file-name={name}"]
    found = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    return found.resolve() if found.is_absolute() else found
