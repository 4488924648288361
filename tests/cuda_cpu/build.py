"""Compiling CUDA C text into a shared library that runs on the CPU; libraries are kept in a folder of the user."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).parent
_FLAGS = (
    "-std=c++17", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-strict-aliasing", "-fno-exceptions", "-w",
)  # fmt: skip
_OPTIMIZED = ("-Og",)
_SANITIZED = (
    "-O0", "-g1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fsanitize=float-cast-overflow",
    "-fno-sanitize-recover=all",
)  # fmt: skip
# What bodies may call: the process has it all. To look through the libraries of C++ and of sanitizers takes a fifth of
# the time of compiling.
_LIBRARIES = ("-nostdlib", "-lgcc", "-lm", "-lc")

_ENTRY = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*(\((?:[^()]|\([^()]*\))*\))\s*)?(\w+)\s*\('
)
# Symbols of static variables of a function with C linkage: _ZZ<length><function>E<variable>.
_STATIC = re.compile(r"^[0-9a-f]+ ([0-9a-f]+) b _ZZ(\d+)(\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_DYNAMIC = re.compile(r"\bextern\s+__shared__\s+((?:__align__\s*\(\s*\d+\s*\)\s*)?)([\w\s]+?)\s*\b(\w+)\s*\[\s*\]\s*;")
_IGNORED = re.compile(r"--?std=.*|--fmad=.*|-fmad=.*")


class CompileError(Exception):
    """The body does not compile; the text is the compiler's."""


@functools.cache
def compiler() -> str | None:
    """Path of the C++ compiler, or None where the emulator cannot work."""
    if not sys.platform.startswith("linux"):
        return None
    return next((path for path in map(shutil.which, ("g++", "c++", "clang++")) if path), None)


def why_not() -> str:
    """Why the emulator cannot work here; empty where it can."""
    return "" if compiler() else "the emulator of CUDA needs Linux and a C++ compiler (g++, c++ or clang++) on PATH"


def library(code: str, options: tuple[str, ...] = (), *, sanitized: bool = False) -> Path:
    """The shared library of a text, compiled unless it was before.

    Raises
    ------
    CompileError
        If the text does not compile.
    """
    if compiler() is None:
        raise CompileError(why_not())
    _check_options(options)
    text = _translated(code)
    key = _key(text, str(sanitized))
    path = folder() / f"{key}.so"
    if path.exists():
        return path
    runtime = _runtime(sanitized)
    with _alone(path) as is_missing:
        if is_missing:
            source = folder() / f"{key}.cpp"
            write(source, text)
            flags = ["-include", str(HERE / "cuda_cpu.h"), "-shared", "-Wl,-Bsymbolic"]
            _compile(
                path, [*_mode(sanitized), *flags, "-x", "c++", str(source), "-x", "none", str(runtime), *_LIBRARIES]
            )
    return path


def traced(code: str, logger: Path) -> Path:
    """The shared library of a text that calls ``logger``, C++ text, before each access to memory.

    Compilers write such calls for ThreadSanitizer. Vectors stay whole: they are one access on a device.

    Raises
    ------
    CompileError
        If one of the texts does not compile.
    """
    text, own = _translated(code), logger.read_text()
    path = folder() / f"{_key(text, own)}.so"
    parts = [folder() / f"{_key(part, own)}.o" for part in ("traced " + text, "logger")]
    flags = ["-c", "-O2", "-fno-tree-vectorize", "-fno-tree-sra", "-fno-ipa-sra"]
    with _alone(path) as is_missing:
        if is_missing:
            source = folder() / f"{path.stem}.traced.cpp"
            write(source, text)
            _compile(parts[0], [*flags, "-fsanitize=thread", "-include", str(HERE / "cuda_cpu.h"), str(source)])
            _compile(parts[1], [*flags, str(logger)])
            objects = [*map(str, parts), str(_runtime(False))]
            _compile(path, [*_mode(False), "-shared", "-Wl,-Bsymbolic", *objects, *_LIBRARIES])
    return path


@functools.cache
def static_shared_bytes(path: Path) -> Mapping[str, int]:
    """Bytes of the shared arrays that each body of a library declares itself."""
    kept = path.with_suffix(".symbols")
    if not kept.exists():
        write(kept, subprocess.run(["nm", "-S", str(path)], capture_output=True, text=True, check=True).stdout)
    listing = kept.read_text()
    total: Counter[str] = Counter()
    for size, length, rest in _STATIC.findall(listing):
        total[rest[: int(length)]] += int(size, 16)
    return total


def _mode(sanitized: bool) -> tuple[str, ...]:
    unique = () if "clang" in _version() else ("-fno-gnu-unique",)
    return (_SANITIZED if sanitized else _OPTIMIZED) + unique


def _check_options(options: tuple[str, ...]) -> None:
    """Refuse options that might mean something else on a device than what the emulator does anyway."""
    unknown = [o for o in options if not _IGNORED.fullmatch(o)]
    if unknown:
        raise CompileError(f"the emulator does not know the options {unknown}")


@functools.lru_cache(maxsize=256)
def _translated(code: str) -> str:
    """The text with what no macro can stand for replaced, and an entry for each body appended."""
    body = re.sub(r"\bstatic\s+__shared__", "__shared__", code)
    body = _DYNAMIC.sub(r"\2* const \3 = (\2*)cuda_cpu_dynamic_shared();", body)
    found = _ENTRY.findall(_COMMENT.sub(" ", code))
    entries = [f"CUDA_CPU_ENTRY({name}{', ' + bounds[1:-1] if bounds else ''})" for bounds, name in found]
    # In a namespace without name nothing is shared between files: GCC gives red zones to such variables alone.
    start = ["namespace {", '#line 1 "kernels/body.cu"']
    return "\n".join([*start, body, '#line 1 "entries of the emulator"', "}", *entries, ""])


def _runtime(sanitized: bool) -> Path:
    """The runtime's object file. It is not instrumented itself: it fills shared arrays, red zones and all."""
    path = folder() / f"{_key('runtime', str(sanitized))}.o"
    with _alone(path) as is_missing:
        if is_missing:
            flags = ["-O2", "-c", "-fno-zero-initialized-in-bss"] + ["-DCUDA_CPU_ASAN"] * sanitized
            _compile(path, [*flags, str(HERE / "runtime.cpp")])
    return path


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether a file is missing, which then is made by this thread alone: other threads and processes wait for it."""
    import fcntl  # Linux has it, where the emulator works

    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not path.exists()


def _compile(path: Path, arguments: list[str]) -> None:
    """Run the compiler; the result appears under its name all at once, as other processes may wait for it."""
    tool = str(compiler())
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = Path(scratch) / path.name
        # Libraries that Python was started with, as for sanitizers, would make the compiler itself slow.
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        command = [tool, *_FLAGS, *arguments, "-o", str(made)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise CompileError(done.stderr)
        made.replace(path)


def write(path: Path, text: str) -> None:
    """Write a file that appears under its name all at once."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".cpp", delete=False) as scratch:
        scratch.write(text)
    Path(scratch.name).replace(path)


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join([_toolchain(), *parts]).encode()).hexdigest()[:32]


@functools.cache
def _toolchain() -> str:
    """All that a library depends on besides its text: the compiler, its flags and our own sources."""
    sources = [p.read_text() for p in sorted(HERE.iterdir()) if p.suffix in (".h", ".cpp")]
    return "\0".join([_version(), os.uname().machine, *_FLAGS, *_OPTIMIZED, *_SANITIZED, *_LIBRARIES, *sources])


@functools.cache
def _version() -> str:
    return subprocess.run([compiler() or "", "--version"], capture_output=True, text=True, check=True).stdout


@functools.cache
def folder() -> Path:
    """A folder that nobody else can write to."""
    folder = Path(tempfile.gettempdir()) / f"gpustitch-cuda-cpu-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        return Path(tempfile.mkdtemp(prefix="gpustitch-cuda-cpu-"))
    return folder
