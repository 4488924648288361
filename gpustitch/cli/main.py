"""The ``gpustitch`` command: one subcommand per stage."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib.abc import InspectLoader
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from gpustitch.version import VERSION

# Verb, and the module with its function ``command``; a verb's module is imported only when the verb is used.
COMMANDS: dict[str, str] = {
    "pipeline": "gpustitch.cli.oblique.pipeline",
    "report": "gpustitch.cli.oblique.report",
    "demo": "gpustitch.cli.about.demo",
    "info": "gpustitch.cli.about.info",
    "view": "gpustitch.cli.about.view",
    "convert": "gpustitch.cli.about.convert",
    "verify": "gpustitch.cli.about.verify",
    "clean": "gpustitch.cli.about.clean",
    "link-names": "gpustitch.cli.about.link_names",
    "oblique-illum-corr": "gpustitch.cli.oblique.oblique_illum_corr",
    "dcimg2tif": "gpustitch.cli.oblique.dcimg2tif",
    "dcimg2jp2": "gpustitch.cli.oblique.dcimg2jp2",
    "destripe": "gpustitch.cli.oblique.destripe",
    "stack2oblique": "gpustitch.cli.oblique.stack2oblique",
    "dcimg2oblique": "gpustitch.cli.oblique.dcimg2oblique",
    "oblique-align": "gpustitch.cli.oblique.oblique_align",
    "oblique2stitched": "gpustitch.cli.oblique.oblique2stitched",
    "similarity": "gpustitch.cli.sections.similarity",
    "z-spacing": "gpustitch.cli.sections.z_spacing",
    "z-spacing-grid": "gpustitch.cli.sections.z_grid",
    "z-render": "gpustitch.cli.sections.z_render",
    "spacing": "gpustitch.cli.slices.spacing",
    "resample": "gpustitch.cli.slices.resample",
}
# Headings of the help, by the folder of a command.
_HEADINGS = {
    "oblique": "Raw tiles to one volume",
    "sections": "Where sections lie",
    "slices": "How slices lie",
    "about": "See, check, try",
}
_HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class _Stage(TyperCommand):
    """Refuses empty words: a shell makes them of variables that are not set, and ``Path("")`` is the working folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for before, word in zip([self.name or "", *args], args, strict=False):
            if not word or (word.startswith("--") and word.find("=") == len(word) - 1):
                what = word or f"after {before}"
                raise typer.BadParameter(
                    f"a value is empty ({what}): is a variable of the shell not set? The working folder is .", ctx=ctx
                )
        return super().parse_args(ctx, args)


class _Stages(TyperGroup):
    """Imports a command's module when the command is used, so that no command waits for the imports of others."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = dict.fromkeys(COMMANDS)  # typer looks for names like a mistyped one among these
        self._only_lists = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """List the commands, by what their modules say, which are not imported for that."""
        self._only_lists = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._only_lists = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        alone = typer.Typer(rich_markup_mode="rich", add_completion=False, pretty_exceptions_show_locals=False)
        module = COMMANDS[cmd_name]
        function = _described(module) if self._only_lists else importlib.import_module(module).command
        heading = _HEADINGS[module.split(".")[2]]
        alone.command(cmd_name, cls=_Stage, context_settings=_HELP_NAMES, rich_help_panel=heading)(function)
        return typer.main.get_command(alone)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Names of commands, or the program's own options; no command is imported for that."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [_Completion(name) for name in COMMANDS if name.startswith(incomplete)]


def _described(module: str) -> Callable[[], None]:
    """A function with the docstring of a module's ``command``, read from its source."""

    def command() -> None:
        pass

    found = importlib.util.find_spec(module)
    source = found.loader.get_source(module) if found and isinstance(found.loader, InspectLoader) else None
    for node in ast.parse(source or "").body:
        if isinstance(node, ast.FunctionDef) and node.name == "command":
            command.__doc__ = ast.get_docstring(node)
    return command


@dataclass(frozen=True)
class _Completion:
    """A name that a shell may complete to, with the attributes that typer's shells read."""

    value: str
    type: str = "plain"
    help: str | None = None


app = typer.Typer(
    cls=_Stages,
    name="gpustitch",
    help="Stitch the raw tiles of an oblique light-sheet microscope; put sections and slices where they belong.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings=_HELP_NAMES,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gpustitch {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    app()
