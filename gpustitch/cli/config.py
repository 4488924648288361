"""Options in a TOML file: read in place of what is not typed, and written as those of a run."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from gpustitch.array import Device
from gpustitch.cli.values import TEXTS
from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.model.options import Leaf

# What no file should ask for by itself.
_SECTIONS = "gpustitch.sections"
_NEVER = frozenset({"overwrite", "restart"})


def read(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options in a file for what neither the command line nor the environment states.

    The file has a line ``x-step-size = 1.28`` for each option, by its long name without hyphens in front. A table of a
    command's name (``[pipeline]``) holds for that command alone. All other tables are :func:`sections`.

    Raises
    ------
    InputMissingError, DamagedInputError
        If there is no such file, or it is no TOML.
    ParameterError
        If it names an option that the command does not have, or gives one a value of another type.
    """
    if path is None:
        return None
    content = _content(path)
    name = context.info_name or ""
    stated = {key: value for key, value in content.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    commands = _commands(context)
    context.meta[_SECTIONS] = path, {table: held for table, held in tables.items() if table not in commands}
    stated |= tables.get(name, {})
    values = {str(parameter.name): value for parameter, value in _taken(path, stated, context)}
    context.default_map = {**(context.default_map or {}), **values}
    return path


def sections(context: typer.Context, names: Sequence[str] | None) -> dict[str, typer.Context]:
    """What the tables of a file that are named ``names`` state, each as a context that was parsed from it alone.

    Raises
    ------
    ParameterError
        If there is a table of another name, or it has an option that the command does not have; None allows no table.
    """
    path, tables = context.meta.get(_SECTIONS, (None, {}))
    found = {}
    for name, table in tables.items():
        if names is None or name not in names:
            known = f"the tables may be named {', '.join(names)}" if names else "there is no such command"
            raise ParameterError(f"{path} has a table [{name}], but {known}", parameter=name)
        words: list[str] = []
        for parameter, value in _taken(path, table, context):
            flags = parameter.opts if value is not False else parameter.secondary_opts
            if not flags or parameter.param_type_name == "argument":
                raise ParameterError(f"{path}: [{name}] cannot state {parameter.name}", parameter=str(parameter.name))
            words += _words_of(flags[0], value)
        needed = ["-" for parameter in context.command.params if parameter.required]
        found[name] = context.command.make_context(context.info_name, [*words, "--", *needed], parent=context.parent)
    return found  # type: ignore[return-value]


def _words_of(flag: str, value: Any) -> list[str]:
    """The words of a command line for a switch, or for an option with one value or several."""
    if isinstance(value, bool):
        return [flag]
    return [word for one in (value if isinstance(value, list) else [value]) for word in (flag, one)]


def _taken(path: Path, stated: Mapping[str, Any], context: typer.Context) -> Iterator[tuple[Any, Any]]:
    """Parameters of the command and their values, as typed; ParameterError for what is none."""
    known = {
        key: parameter for parameter in context.command.params if parameter.name != "config" for key in _keys(parameter)
    }
    for key, value in stated.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ParameterError(f"{path} has `{key}`, which is no option of {context.info_name}{hint}", parameter=key)
        yield known[key], _as_typed(path, key, value, known[key])


def _content(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputMissingError(f"`config` {path} is not there") from None
    except (OSError, ValueError) as error:
        raise DamagedInputError(f"`config` {path} cannot be read as TOML: {error}") from error


def _commands(context: typer.Context) -> list[str]:
    """Names of all commands of the program."""
    parent = context.parent
    return parent.command.list_commands(parent) if parent is not None else [context.info_name]  # type: ignore


def _keys(parameter: Any) -> Iterator[str]:
    """Names of an option in a file: its long flags without hyphens, or what stands for an argument."""
    if parameter.param_type_name == "argument":
        yield str(parameter.name).rpartition("__")[2].replace("_", "-")
    else:
        yield from (flag.lstrip("-") for flag in parameter.opts if flag.startswith("--"))


def _as_typed(path: Path, key: str, value: Any, parameter: Any) -> Any:
    """A value of TOML as the command line would take it."""
    takes_switch = bool(getattr(parameter, "is_flag", False))
    if takes_switch != isinstance(value, bool):
        expected = "true or false" if takes_switch else "a value, not true or false"
        raise ParameterError(f"{path}: `{key}` takes {expected}, not {value!r}", parameter=key)
    if takes_switch:
        return value
    if "" in (value if isinstance(value, list) else [value]):
        # A path of no characters is the working folder.
        raise ParameterError(f"{path}: `{key}` is empty; leave out the line for its default", parameter=key)
    several = parameter.multiple or parameter.nargs == -1
    if isinstance(value, list):
        return [str(one) for one in value] if several else ",".join(map(str, value))
    return [str(value)] if several else str(value)


def text_of(command: str, options: Any, found: list[Leaf], stated: frozenset[str]) -> str:
    """The options of a run as a file that :func:`read` takes.

    ``stated`` names those that the user stated. All others are remarks: what a default decides, an option that is
    stated as its default does not always decide alike.
    """
    lines = [
        f"# Options of a run of gpustitch {command}; gpustitch {command} --config FILE repeats it.",
        "# What follows # is a default.",
    ]
    shown = [leaf for leaf in found if not leaf.declared.is_hidden]
    for panel in dict.fromkeys(leaf.declared.panel for leaf in shown):
        lines += ["", f"# {panel or 'General'}"]
        for leaf in (leaf for leaf in shown if leaf.declared.panel == panel):
            value = leaf.value_in(options)
            is_stated = leaf.is_required or (leaf.name in stated and leaf.name not in _NEVER)
            mark = "" if is_stated else "# "
            lines += [f"{mark}{_key(leaf)} = {'...' if value is None else _toml(_plain(leaf, value))}"]
    return "\n".join([*lines, ""])


def section_text(name: str, values: Sequence[tuple[Leaf, Any]]) -> str:
    """A table of the options of one part of a run."""
    lines = [f"[{_toml(name)}]", *(f"{_key(leaf)} = {_toml(_plain(leaf, value))}" for leaf, value in values)]
    return "\n".join(["", *lines, ""])


def _key(leaf: Leaf) -> str:
    """The name of an option in a file."""
    return leaf.flags[0].partition("/")[0].lstrip("-") if leaf.flags else leaf.name.replace("_", "-")


def _plain(leaf: Leaf, value: Any) -> Any:
    """The value of an option as text, number, switch or list of these."""
    if leaf.declared.text is not None:
        return TEXTS[leaf.declared.text].show(value)
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, Device):
        return str(value)
    return [_plain(leaf, one) for one in value] if isinstance(value, tuple) else value


def _toml(value: Any) -> str:
    """A value in TOML's notation."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
