"""Making a typer command from a dataclass of options with :func:`gpustitch.model.options.option` fields."""

from __future__ import annotations

import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gpustitch.array import choose_devices
from gpustitch.cli import config
from gpustitch.cli.logs import LogLevel, logged
from gpustitch.cli.terminal import TerminalProgress, as_typed, closed, reported_errors
from gpustitch.cli.values import TEXTS, parsed
from gpustitch.model.options import Leaf, filled, leaves, with_values
from gpustitch.running.options import RUNNING

_OFF = ("0", "no", "off", "false")
_IN_FILE = "DEFAULT_MAP"
_STATED = ("COMMANDLINE", "ENVIRONMENT", _IN_FILE)
_QUIET = Annotated[
    bool,
    typer.Option(
        "--quiet", "--silent", help="Print nothing but errors, warnings and results.", rich_help_panel=RUNNING
    ),
]


class Given(frozenset[str]):
    """Names of the options that were stated, on the command line or in the environment."""


def command_of(function: Callable[..., None] | None = None, *, without: tuple[str, ...] = ()) -> Callable[..., Any]:
    """Make ``function(options, progress, ...)`` a command; ``without`` names fields that become no options.

    The annotation of the first parameter is the dataclass whose fields become options. The second parameter takes a
    :class:`gpustitch.cli.terminal.TerminalProgress`. A parameter annotated with :class:`Given` takes the names of the
    stated options. typer gets all other parameters unchanged. The docstring is the help. Errors become one line and
    an exit code; parameters in backquotes become the flags that users type.
    """
    if function is None:
        return functools.partial(command_of, without=without)
    hints = typing.get_type_hints(function, include_extras=True)
    own = list(inspect.signature(function).parameters.values())
    kind = hints[own[0].name]
    names_of = getattr(kind, "section_names", None)
    progress_type = hints[own[1].name]
    found = leaves(kind, without)
    flags = flags_of(found)
    extra = [p.replace(annotation=hints[p.name]) for p in own[2:] if hints[p.name] is not Given]
    takes_given = [p.name for p in own[2:] if hints[p.name] is Given]

    def command(*, context: typer.Context, **values: Any) -> None:
        level = values.pop("log_level")
        progress = progress_type(quiet=values.pop("quiet"), level=level, flags=flags)
        values.pop("config")
        with reported_errors(flags), closed(progress), logged(level, progress.line):
            others = {parameter.name: values.pop(parameter.name) for parameter in extra}
            stated = {leaf.path: value for leaf in found if (value := _stated(leaf, values, context)) is not None}
            options = filled(kind, stated)
            own = None if names_of is None else names_of(options)
            for name, of_section in config.sections(context, own).items():
                options.stated_for(name, _typed(found, of_section))
            if takes_given:
                others[takes_given[0]] = Given(path[-1] for path in stated)
            function(_on_device(options, found, progress), progress, **others)

    parameters = _parameters(found, extra, flags)
    # typer reads these to learn what the command takes.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = _unwrapped(inspect.cleandoc(function.__doc__ or ""))
    command.options_type, command.without = kind, without  # type: ignore[attr-defined]
    return command


def _parameters(
    found: Sequence[Leaf], extra: Sequence[inspect.Parameter], flags: Mapping[str, str]
) -> list[inspect.Parameter]:
    """What typer is told that a command takes: its options, its other parameters, and those that every command has."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter("context", keyword, annotation=typer.Context),
        *(_parameter(leaf, flags) for leaf in found),
        *(parameter.replace(kind=keyword) for parameter in extra),
        inspect.Parameter("config", keyword, default=None, annotation=_config(flags)),
        inspect.Parameter("log_level", keyword, default="INFO", annotation=LogLevel),
        inspect.Parameter("quiet", keyword, default=False, annotation=_QUIET),
    ]


def _unwrapped(text: str) -> str:
    """A text with each paragraph in one line, which the help wraps as wide as the terminal is."""
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in text.split("\n\n"))


def _config(flags: Mapping[str, str]) -> Any:
    """The option that names a file of options, read before any other option."""

    def read(context: typer.Context, value: Path | None) -> Path | None:
        with reported_errors({**flags, "config": "--config"}):
            return config.read(context, value)

    text = "TOML file of options, by their long names: x-step-size = 1.28; what is typed counts more."
    shown = typer.Option(
        "--config", callback=read, is_eager=True, show_default=False, help=text, rich_help_panel=RUNNING
    )
    return Annotated[Path | None, shown]


def flags_of(found: list[Leaf]) -> dict[str, str]:
    """The flag of each option on the command line, by the name of the option's field.

    Raises
    ------
    ValueError
        If two options share a flag, or two fields of one name have different flags.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for leaf in found:
        shown = leaf.flags[0].partition("/")[0] if leaf.flags else leaf.declared.metavar or leaf.name.upper()
        both = taken & set(leaf.flags)
        if both or names.get(leaf.name, shown) != shown:
            raise ValueError(f"two options are called {leaf.name} or {', '.join(both)}: {'.'.join(leaf.path)}")
        taken |= set(leaf.flags)
        names[leaf.name] = shown
    return names


def leaf_key(leaf: Leaf) -> str:
    """Name of the option's parameter in typer."""
    return "__".join(leaf.path)


def _parameter(leaf: Leaf, flags: Mapping[str, str]) -> inspect.Parameter:
    """The option as typer's parameter; its help shows flags in place of field names."""
    declared = leaf.declared
    text = as_typed(declared.help, flags) + (f" It is {declared.range_text}." if declared.range_text else "")
    settings: dict[str, Any] = {"help": text, "hidden": declared.is_hidden, "rich_help_panel": declared.panel}
    settings["metavar"] = declared.metavar or _metavar(leaf)
    settings["show_default"] = as_typed(declared.shown, flags) if declared.shown else True
    if declared.env and _is_switch(leaf):
        settings["help"] = f"{text} (environment: {declared.env})"
    elif declared.env:
        settings["envvar"] = declared.env
    hint = _shown_type(leaf)
    default = inspect.Parameter.empty if leaf.is_required else _shown_default(leaf)
    shown = typer.Argument(**settings) if declared.is_argument else typer.Option(*leaf.flags, **settings)
    annotation = Annotated[hint | None if default is None else hint, shown]  # type: ignore[valid-type]
    return inspect.Parameter(leaf_key(leaf), inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _metavar(leaf: Leaf) -> str | None:
    """What stands for the value in the help; None leaves it to typer."""
    if leaf.declared.text:
        return TEXTS[leaf.declared.text].metavar
    if leaf.declared.unit:
        return leaf.declared.unit.upper()
    return leaf.name.upper() if leaf.declared.is_argument else None


def _shown_type(leaf: Leaf) -> Any:
    """The type that typer parses an option as."""
    if leaf.declared.text is not None:
        return str
    hint = leaf.type
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        # A path or a pattern, a device or its name: the command line gives the text.
        hint = str if str in parts else parts[0]
    if typing.get_origin(hint) in (tuple, list, Sequence):
        inner = typing.get_args(hint)[0]
        return list[inner if inner in (str, int, float, Path) else str]  # type: ignore[misc]
    return hint


def _shown_default(leaf: Leaf) -> Any:
    """The default as a user would type it; None if there is nothing to type."""
    default = leaf.default
    if leaf.declared.text is not None and default is not None:
        return TEXTS[leaf.declared.text].show(default) or None
    return (list(default) or None) if isinstance(default, tuple) else default


def _is_switch(leaf: Leaf) -> bool:
    """Whether the option's environment variable switches something on, rather than hold a value."""
    return leaf.declared.env_means is not None or _shown_type(leaf) is bool


def _stated(leaf: Leaf, values: Mapping[str, Any], context: typer.Context) -> Any:
    """The stated value, converted for the options; None if the user stated none."""
    declared, value = leaf.declared, values[leaf_key(leaf)]
    source = context.get_parameter_source(leaf_key(leaf))
    is_on = environment_switch(declared.env) if declared.env and _is_switch(leaf) else None
    if source is None or source.name not in _STATED or (source.name == _IN_FILE and is_on):
        if declared.env_means is not None:
            return declared.env_means if is_on else None
        return is_on
    if declared.text is not None:
        return parsed(declared.text, value, leaf.name)
    return tuple(_at_home(leaf, one) for one in value) if isinstance(value, list) else _at_home(leaf, value)


def _at_home(leaf: Leaf, value: Any) -> Any:
    """A place below ``~`` as shells mean it, which leave ``--output=~/out`` alone; files of options have no shell."""
    kinds = {leaf.type, *typing.get_args(leaf.type)}
    is_place = isinstance(value, Path) or (isinstance(value, str) and Path in kinds)
    if not is_place or not str(value).startswith("~") or os.path.lexists(value):
        return value
    try:
        there = Path(value).expanduser()
    except RuntimeError:  # there is no such user
        return value
    return str(there) if isinstance(value, str) else there


def _typed(found: list[Leaf], context: typer.Context) -> dict[tuple[str, ...], Any]:
    """The options that a context was given as words, by their paths."""
    sources = ((leaf, context.get_parameter_source(leaf_key(leaf))) for leaf in found)
    typed = [leaf for leaf, source in sources if source is not None and source.name == "COMMANDLINE"]
    return {leaf.path: _stated(leaf, context.params, context) for leaf in typed if not leaf.declared.is_argument}


def environment_switch(name: str) -> bool | None:
    """Whether an environment variable switches something on: None if unset, False for 0, no, off and false.

    spimstitch's scripts take any value for on, but users who write 0 mean off.
    """
    value = os.environ.get(name, "").strip().lower()
    return value not in _OFF if value else None


def _on_device(options: Any, found: list[Leaf], progress: TerminalProgress) -> Any:
    """The options with the device that they name; ``progress`` gets a line about the device."""
    values = {leaf.name: leaf.value_in(options) for leaf in found}
    path = next((leaf.path for leaf in found if leaf.name == "device"), None)
    if path is None:
        return options
    device = choose_devices(values["device"], values.get("device_memory_bytes"))
    if "device_memory_bytes" in values:
        progress.note(f"device {device.why}")
    # Several are left to the stage, which may be one that takes one alone.
    return options if device.others else with_values(options, {path: device})
