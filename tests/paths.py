"""Where the checkout, the golden data and the folders of tests lie."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpustitch.running.memory import free_bytes

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data"

# pytest's name for the folder that holds those of tests; it counts for folders that are made without pytest too.
TEMPORARY = "PYTEST_DEBUG_TEMPROOT"
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 2 << 30


def keep_in_memory(n_workers: int) -> None:
    """Have folders of tests lie in memory, where the system has such a place with room: a disk takes its time.

    What is about the file system itself says so with :func:`on_disk`.
    """
    if TEMPORARY in os.environ or not os.access(_MEMORY, os.W_OK):
        return
    place = os.statvfs(_MEMORY)
    room_bytes = min(place.f_bavail * place.f_frsize, free_bytes() or 0)
    if room_bytes >= _ROOM_BYTES * (n_workers + 1):
        os.environ[TEMPORARY] = str(_MEMORY)


@contextmanager
def temporary() -> Iterator[Path]:
    """A folder that is there as long as the ``with`` block lasts."""
    with tempfile.TemporaryDirectory(dir=os.environ.get(TEMPORARY)) as name:
        yield Path(name)


@contextmanager
def on_disk() -> Iterator[Path]:
    """Such a folder where programs have theirs, which is on a disk as a rule."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
