"""``gpustitch view``."""

from __future__ import annotations

import contextlib
import time
import webbrowser

from gpustitch.cli.build import command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.show.view import ViewOptions, plan, run


@command_of
def command(options: ViewOptions, progress: TerminalProgress) -> None:
    """Show volumes in Neuroglancer, served from this machine until Ctrl-C.

    Example: gpustitch view out-488 out-562
    """
    with run(plan(options)) as served, contextlib.suppress(KeyboardInterrupt):
        if served.caution:
            progress.warn(served.caution)
        progress.result(served.url)
        if options.browser:
            webbrowser.open(served.url)
        while True:
            time.sleep(3600)
