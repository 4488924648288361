"""Options that commands accept for spimstitch's scripts; they change nothing."""

from __future__ import annotations

from typing import Annotated

import typer

Chunks = Annotated[int, typer.Option("--chunks", help="Accepted for old scripts; changes nothing.", hidden=True)]
Jp2k = Annotated[bool, typer.Option("--jp2k", help="Accepted for old scripts; names of files tell their kind.")]
