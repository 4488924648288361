"""Errors of decoders and of the operating system, as errors that name the file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.failures import is_lack


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn errors of a decoder or the operating system about ``path`` into errors that name ``path``."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputMissingError(f"there is no file {path}") from error
    except IsADirectoryError as error:
        raise InputMissingError(f"{path} is a directory, not a file") from error
    except PermissionError as error:
        raise InputMissingError(f"{path} cannot be opened: no permission to read it") from error
    except (DamagedInputError, InputMissingError, ParameterError):
        raise
    except Exception as error:
        if is_lack(error):
            raise
        # Decoders raise many types, among them plain Exception and RuntimeError.
        raise DamagedInputError(f"{path} cannot be read as {what}: {error}") from error
