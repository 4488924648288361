"""NVIDIA's runtime compiler, called without a device: from CUDA C to a binary and the report of ptxas.

The compiler comes in the wheel ``nvidia-cuda-nvrtc``; no driver is needed.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

_LIBRARIES = ("cu13/lib/libnvrtc.so.13", "cu13/bin/x86_64/nvrtc64_130_0.dll", "cuda_nvrtc/lib/libnvrtc.so.12")
_FUNCTION = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_SPILL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")
_WARNING = re.compile(r"warning", re.IGNORECASE)


@dataclass(frozen=True)
class Resources:
    """Resources of a thread (registers, bytes of stack and spills) and of a block (bytes of static shared memory)."""

    registers: int
    stack_bytes: int
    spill_bytes: int
    shared_bytes: int

    def occupancy(self, threads: int) -> float:
        """Fraction of the 64 warps of a multiprocessor of compute capability 9.0 that run together."""
        warps = -(-threads // 32)
        # Warps get registers in units of 256, in each quarter of the multiprocessor. A block takes 1 KiB more shared
        # memory than it declares, in units of 128 bytes.
        warps_of_registers = 4 * (16384 // (-(-self.registers * 32 // 256) * 256))
        blocks_of_shared = (228 << 10) // (-(-self.shared_bytes // 128) * 128 + 1024)
        return min(32, 64 // warps, warps_of_registers // warps, blocks_of_shared) * warps / 64


@dataclass(frozen=True)
class Compiled:
    """Result of a compilation: resources of each body, the compiler's warnings, and the binary."""

    resources: dict[str, Resources]
    warnings: list[str]
    cubin: bytes


class CompileError(Exception):
    """The text does not compile; the message is the compiler's log."""


def why_not() -> str:
    """Why there is no compiler; empty if there is one."""
    return "" if _path() else "NVRTC is not installed (pip install nvidia-cuda-nvrtc)"


def version() -> str:
    """Version of the compiler, such as 13.0."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


@functools.cache
def build() -> str:
    """What tells this build of the compiler from others: its version and its wheel's, and the size of its library."""
    path = _path()
    if path is None:
        raise CompileError(why_not())
    wheels = sorted(f"{d.name} {d.version}" for d in distributions() if d.name.startswith("nvidia-cuda-nvrtc"))
    return " ".join([version(), *wheels, str(path.stat().st_size)])


def architectures() -> list[int]:
    """Compute capabilities that the compiler makes binaries for, such as 90."""
    count = ctypes.c_int()
    _check(_library().nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    found = (ctypes.c_int * count.value)()
    _check(_library().nvrtcGetSupportedArchs(found))
    return list(found)


def compile_text(text: str, options: Sequence[str], architecture: int) -> Compiled:
    """Compile for devices of a compute capability.

    Raises
    ------
    CompileError
        If the text does not compile.
    """
    log, cubin = _run(text, [*options, f"--gpu-architecture=sm_{architecture}", "--ptxas-options=-v"], "CUBIN")
    return Compiled(_resources(log), _warnings(log), cubin)


def translate_text(text: str, options: Sequence[str], architecture: int) -> list[str]:
    """Warnings of compiling for a compute capability up to PTX: half the work, and no binary tells resources.

    Raises
    ------
    CompileError
        If the text does not compile.
    """
    log, _ = _run(text, [*options, f"--gpu-architecture=compute_{architecture}"], "PTX")
    return _warnings(log)


def _run(text: str, options: Sequence[str], what: str) -> tuple[str, bytes]:
    """The compiler's log, and what it makes of a text: CUBIN or PTX."""
    library, program = _library(), ctypes.c_void_p()
    _check(library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None))
    try:
        values = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
        error = library.nvrtcCompileProgram(program, len(options), values)
        log = _read(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
        if error:
            raise CompileError(f"{library.nvrtcGetErrorString(error).decode()}\n{log}")
        return log, _read(program, what)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _warnings(log: str) -> list[str]:
    return [line for line in log.splitlines() if _WARNING.search(line)]


def _resources(log: str) -> dict[str, Resources]:
    """Resources of each body, from the output of ``ptxas -v``."""
    parts = _FUNCTION.split(log)[1:]
    found = {}
    for name, text in zip(parts[::3], parts[2::3], strict=True):
        stack, stores, loads = map(int, match.groups()) if (match := _SPILL.search(text)) else (0, 0, 0)
        registers, shared = _REGISTERS.search(text), _SHARED.search(text)
        if registers is None:
            raise CompileError(f"ptxas states no resources of {name}:\n{log}")
        found[name] = Resources(int(registers[1]), stack, max(stores, loads), int(shared[1]) if shared else 0)
    return found


def _read(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(_library(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    content = ctypes.create_string_buffer(size.value)
    _check(getattr(_library(), f"nvrtcGet{what}")(program, content))
    return content.raw


def _check(error: int) -> None:
    if error:
        raise CompileError(_library().nvrtcGetErrorString(error).decode())


@functools.cache
def _library() -> ctypes.CDLL:
    path = _path()
    if path is None:
        raise CompileError(why_not())
    library = ctypes.CDLL(str(path))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


@functools.cache
def _path() -> Path | None:
    """The compiler's library in the wheel."""
    package = importlib.util.find_spec("nvidia")
    folders = (package.submodule_search_locations or []) if package else []
    paths = (Path(folder) / name for folder in folders for name in _LIBRARIES)
    return next((path for path in paths if path.is_file()), None)
