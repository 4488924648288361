"""Where the program begins: what the system sends is heeded before anything heavy is imported."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from types import FrameType

from gpustitch.cli.signals import STOPPING, handled, silence_if_broken, word_of
from gpustitch.errors import ResourceError

# How many threads one matrix product takes, in the libraries that NumPy may be built with.
_OF_PRODUCTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
# Measured: with 0.3 GB of address space a run hangs in a library, with 0.7 GB it aborts in one.
_LEAST_ROOM_BYTES = 1_000_000_000


def main() -> None:
    """Run the command line; what stops it while it is imported leaves one line and an exit code."""
    _open_standard_streams()
    _say_all_characters()
    _leave_cores_to_stages()
    _refuse_too_little_room()
    with handled(_leave, (signal.SIGINT, *STOPPING)):
        from gpustitch.cli.main import main as run  # takes a second

        try:
            run()
        finally:
            for stream in (sys.stdout, sys.stderr):
                silence_if_broken(stream)


def _leave_cores_to_stages() -> None:
    """Let each matrix product run on the thread that asks for it, unless the user says otherwise.

    Stages share the cores out already; products that each took all of them would wait for one another.
    """
    if not any(name in os.environ for name in _OF_PRODUCTS):
        os.environ.update(dict.fromkeys(_OF_PRODUCTS, "1"))


def _refuse_too_little_room() -> None:
    """End where the system allows too little: libraries wait without end for memory there, and heed no signal."""
    try:
        import resource  # not on every system
    except ImportError:
        return
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    if allowed != resource.RLIM_INFINITY and allowed < _LEAST_ROOM_BYTES:
        with contextlib.suppress(OSError):
            os.write(
                2,
                f"gpustitch: error: the system allows {allowed / 1e6:.0f} MB of address space (ulimit -v), but at "
                f"least {_LEAST_ROOM_BYTES / 1e6:.0f} MB are needed\n".encode(),
            )
        os._exit(ResourceError.exit_code)


def _leave(number: int, _frame: FrameType | None) -> None:
    """End at once: no output is begun."""
    with contextlib.suppress(OSError):
        os.write(2, f"gpustitch: {word_of(number)}\n".encode())
    os._exit(128 + number)


def _say_all_characters() -> None:
    """Show characters that the terminal's encoding lacks, and bytes of names that are no text, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        # Names that are no text go back to the bytes that they were.
        gives_bytes_back = stream is not None and (stream.encoding, stream.errors) == ("utf-8", "surrogateescape")
        if isinstance(stream, io.TextIOWrapper) and not gives_bytes_back:
            stream.reconfigure(errors="backslashreplace")


def _open_standard_streams() -> None:
    """Put something in place of closed standard streams, whose numbers an output would get otherwise."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
