"""CUDA bodies as text: the text to compile, and the parameters of its entry points.

A body is found in its file by name, as ``extern "C" __global__ void name(parameters)``. The text of
each header replaces its ``#include``. The whole is then complete, and a cache keyed by it sees every changed header.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gpustitch.array.sources import Source, header_of, said, source_text
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


def program(source: Source, types: Mapping[str, str]) -> str:
    """The text for the compiler: a file of bodies and the headers it includes, with its type names defined.

    Line numbers in errors are the file's own. The text defines the types. A macro ``T`` would also replace the T of
    templates in the compiler's own headers.

    Raises
    ------
    DeviceError
        If the file, or a header that it names, is not there.
    """
    aliases = "".join(f"using {name} = {c_type};\n" for name, c_type in sorted(types.items()))
    return aliases + _text(source, set())


@functools.cache
def entry_points(source: Source) -> Mapping[str, tuple[Parameter, ...]]:
    """The parameters of every body in a file, by its name.

    Raises
    ------
    DeviceError
        If the file is not there.
    """
    text = _COMMENT.sub(" ", source_text(source))
    return {name: tuple(map(_parameter, _split(parameters))) for name, parameters in _ENTRY.findall(text)}


def why_no_body(source: Source, name: str) -> str:
    """Why there is no body of that name in the file; empty if there is one."""
    try:
        found = entry_points(source)
    except DeviceError as error:
        return str(error)
    return "" if name in found else f'{said(source)} holds no extern "C" __global__ void {name}(...)'


def _text(source: Source, included: set[Source]) -> str:
    path = json.dumps(said(source), ensure_ascii=False)  # quoted as C does it

    def header(match: re.Match[str]) -> str:
        found = header_of(source, match[1])
        if found in included:
            return ""
        included.add(found)
        line = text.count("\n", 0, match.start()) + 2
        return f"{_text(found, included)}\n#line {line} {path}"

    text = source_text(source)
    return f"#line 1 {path}\n" + _INCLUDE.sub(header, text)


def _split(parameters: str) -> list[str]:
    return [part for part in (p.strip() for p in parameters.split(",")) if part]


def _parameter(declaration: str) -> Parameter:
    words = declaration.replace("*", " * ").split()
    c_type = " ".join(w for w in words[:-1] if w not in ("*", "const", "__restrict__"))
    return Parameter(words[-1], c_type, words.count("*"), "const" in words)
