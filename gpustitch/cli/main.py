"""The ``gpustitch`` command: one subcommand per stage."""

from __future__ import annotations

import importlib

import typer

# Verb and the module whose function ``command`` carries it out.
COMMANDS: tuple[tuple[str, str], ...] = (
    ("destripe", "gpustitch.cli.destripe"),
    ("oblique-align", "gpustitch.cli.oblique_align"),
    ("dcimg2tif", "gpustitch.cli.dcimg2tif"),
    ("dcimg2jp2", "gpustitch.cli.dcimg2jp2"),
    ("stack2oblique", "gpustitch.cli.stack2oblique"),
    ("dcimg2oblique", "gpustitch.cli.dcimg2oblique"),
    ("pipeline", "gpustitch.cli.pipeline"),
    ("info", "gpustitch.cli.info"),
    ("demo", "gpustitch.cli.demo"),
    ("oblique-illum-corr", "gpustitch.cli.oblique_illum_corr"),
    ("oblique2stitched", "gpustitch.cli.oblique2stitched"),
)

app = typer.Typer(
    name="gpustitch",
    help="From raw oblique light-sheet acquisitions to a stitched, destriped, correctly scaled volume.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


@app.callback()
def _root() -> None:
    # Without it a lone command would not be called by its verb.
    pass


for _verb, _module in COMMANDS:
    app.command(_verb)(importlib.import_module(_module).command)


def main() -> None:
    """Run the command line."""
    app()
