"""CUDA bodies as text: what is compiled, and what its entry points take.

A body is found in its file by name, as ``extern "C" __global__ void name(parameters)``; the file's own headers are
put in place of their ``#include``, so that the text is complete and every cache keyed by it knows of them.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gpustitch.errors import DeviceError

C_TYPES: Mapping[str, str] = {
    "uint8": "unsigned char", "uint16": "unsigned short", "int32": "int", "uint32": "unsigned int",
    "int64": "long long", "float32": "float", "float64": "double",
}  # fmt: skip
INTEGER, FLOATING = "long long", "double"

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)".*$', re.MULTILINE)
_ENTRY = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)')
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a body: ``pointers`` is 0 for a number, 1 for an array, 2 for a table of arrays.

    ``is_const`` says that the body only reads it.
    """

    name: str
    c_type: str
    pointers: int
    is_const: bool = False


def program(source: str, types: Mapping[str, str]) -> str:
    """What the compiler is given: a file in ``kernels/`` and the headers it includes, with its type names defined.

    Line numbers in errors are the file's own. Types are defined in the text because a macro ``T`` would also replace
    the T of templates in the compiler's own headers.

    Raises
    ------
    DeviceError
        If the file, or a header that it names, is not installed.
    """
    aliases = "".join(f"using {name} = {c_type};\n" for name, c_type in sorted(types.items()))
    return aliases + _text(source, set())


@functools.cache
def entry_points(source: str) -> Mapping[str, tuple[Parameter, ...]]:
    """The parameters of every body in a file, by its name."""
    text = _COMMENT.sub(" ", _read(source))
    return {name: tuple(map(_parameter, _split(parameters))) for name, parameters in _ENTRY.findall(text)}


def has_body(source: str, name: str) -> bool:
    """Whether the file is installed and holds a body of that name."""
    return bool(_file(source).is_file()) and name in entry_points(source)


def _text(source: str, included: set[str]) -> str:
    def header(match: re.Match[str]) -> str:
        name = match[1]
        if name in included:
            return ""
        included.add(name)
        line = text.count("\n", 0, match.start()) + 2
        return f'{_text(name, included)}\n#line {line} "kernels/{source}"'

    text = _read(source)
    return f'#line 1 "kernels/{source}"\n' + _INCLUDE.sub(header, text)


def _read(name: str) -> str:
    file = _file(name)
    if not file.is_file():
        raise DeviceError(f"kernels/{name} is not installed; install gpustitch again")
    return str(file.read_text(encoding="utf-8"))


def _file(name: str) -> importlib.resources.abc.Traversable:
    return importlib.resources.files("gpustitch.kernels") / name


def _split(parameters: str) -> list[str]:
    return [part for part in (p.strip() for p in parameters.split(",")) if part]


def _parameter(declaration: str) -> Parameter:
    words = declaration.replace("*", " * ").split()
    c_type = " ".join(w for w in words[:-1] if w not in ("*", "const", "__restrict__"))
    return Parameter(words[-1], c_type, words.count("*"), "const" in words)
