"""What the library logs, on standard error: ``--log-level``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import typer

from gpustitch.running.options import RUNNING

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LogLevel = Annotated[
    Level,
    typer.Option(
        "--log-level",
        case_sensitive=False,
        help="Least important lines to print: INFO has choices and findings, WARNING only what may be wrong, ERROR "
        "nothing but errors; DEBUG tells also which files are opened, and what is begun and finished when.",
        rich_help_panel=RUNNING,
    ),
]
LIBRARY = "gpustitch"


class _Lines(logging.Handler):
    """Hands each record to a function, as a line."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; what cannot be written ends nothing."""
        with contextlib.suppress(Exception):
            self._write(self.format(record))


@contextlib.contextmanager
def logged(level: str, write: Callable[[str], None]) -> Iterator[None]:
    """Within the block, lines that the library logs go to ``write`` if the level is DEBUG."""
    if level != "DEBUG":
        yield
        return
    logger, lines = logging.getLogger(LIBRARY), _Lines(write)
    lines.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    before = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(lines)
        logger.setLevel(before)
