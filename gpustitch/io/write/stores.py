"""What all writers share that write through tensorstore: its threads, and its errors as those of the system."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import tensorstore as ts

from gpustitch.io.forked import uses_tensorstore

_OS_ERROR = re.compile(r"os_error_code='(\d+)'")


def writing_context(n_writers: int) -> Any:
    """A context with so many threads that encode and so many that write, without a cache.

    Files are flushed together at the end, instead of one after the other.
    """
    uses_tensorstore()
    limit = {"limit": n_writers}
    return ts.Context(
        {
            "file_io_sync": False,
            "cache_pool": {"total_bytes_limit": 0},
            "data_copy_concurrency": limit,
            "file_io_concurrency": limit,
        }
    )


def file_store(folder: Path) -> dict[str, str]:
    """The key-value store of a folder."""
    return {"driver": "file", "path": f"{folder.absolute()}/"}


def system_error(error: BaseException) -> BaseException:
    """The operating system's error that tensorstore's error tells of in its text; ``error`` itself if it tells none."""
    found = _OS_ERROR.search(str(error))
    if found is None:
        return error
    number = int(found[1])
    return OSError(number, os.strerror(number))
