"""The ``gpustitch`` command: one subcommand per stage."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

# Verb and the module whose function ``command`` carries it out, imported when it is called for.
COMMANDS: dict[str, str] = {
    "pipeline": "gpustitch.cli.pipeline",
    "demo": "gpustitch.cli.demo",
    "info": "gpustitch.cli.info",
    "view": "gpustitch.cli.view",
    "oblique-illum-corr": "gpustitch.cli.oblique_illum_corr",
    "dcimg2tif": "gpustitch.cli.dcimg2tif",
    "dcimg2jp2": "gpustitch.cli.dcimg2jp2",
    "destripe": "gpustitch.cli.destripe",
    "stack2oblique": "gpustitch.cli.stack2oblique",
    "dcimg2oblique": "gpustitch.cli.dcimg2oblique",
    "oblique-align": "gpustitch.cli.oblique_align",
    "oblique2stitched": "gpustitch.cli.oblique2stitched",
    "similarity": "gpustitch.cli.similarity",
    "z-spacing": "gpustitch.cli.z_spacing",
    "z-spacing-grid": "gpustitch.cli.z_grid",
    "z-render": "gpustitch.cli.z_render",
    "resample": "gpustitch.cli.resample",
    "spacing": "gpustitch.cli.spacing",
}
_HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class _Stages(TyperGroup):
    """Imports a command when it is asked for, so that one need not wait for what the others import."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        alone = typer.Typer(rich_markup_mode="rich", add_completion=False, pretty_exceptions_show_locals=False)
        function = importlib.import_module(COMMANDS[cmd_name]).command
        alone.command(cmd_name, context_settings=_HELP_NAMES)(function)
        return typer.main.get_command(alone)


app = typer.Typer(
    cls=_Stages,
    name="gpustitch",
    help="From raw oblique light-sheet acquisitions to a stitched, destriped, correctly scaled volume.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    context_settings=_HELP_NAMES,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gpustitch {version('gpustitch')}")
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
