"""The ``gpustitch`` command: one subcommand per stage."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="gpustitch",
    help="From raw oblique light-sheet acquisitions to a stitched, destriped, correctly scaled volume.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def main() -> None:
    """Run the command line."""
    app()
