"""Reading files on threads, and what is found: what is damaged, in words, and in a line that all is well."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.io.failures import lack
from gpustitch.io.sums import summed
from gpustitch.running.progress import Progress
from gpustitch.running.threads import ordered_map

MOST_NAMED = 20
_MB = 1_000_000

Found = tuple[int, str]  # bytes of a file or box that was read, and what is wrong with it
Read = Callable[[], Found]


@dataclass
class Damages:
    """What is damaged: the first in words, and how many there are."""

    named: list[str] = field(default_factory=list)
    n: int = 0

    def add(self, text: str, n: int = 1) -> None:
        """One more, or ``n`` that a text tells of, unless the text was added before."""
        if text in self.named:
            return
        if len(self.named) < MOST_NAMED:
            self.named.append(text)
        self.n += n

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Take the error of something damaged for a damage."""
        try:
            yield
        except (DamagedInputError, InputMissingError) as error:
            if (lacking := lack(error)) is not None:
                raise lacking from error
            self.add(str(error))


@dataclass(frozen=True)
class Check:
    """What was found at a place.

    Attributes
    ----------
    path
        The place.
    extent, verdict
        How much was read, and how it is unless something is damaged; for people.
    damages, n_damages
        The first damages, in words; how many there are.
    """

    path: Path
    extent: str
    verdict: str
    damages: tuple[str, ...]
    n_damages: int

    @property
    def lines(self) -> Iterator[str]:
        """For people: a line, and one for each damage that is named."""
        places = f" in {self.n_damages} places" if self.n_damages > 1 else ""
        yield f"{self.path}: {self.extent}: {f'DAMAGED{places}' if self.n_damages else self.verdict}"
        yield from (f"  {text}" for text in self.damages)
        if self.n_damages > len(self.damages):
            yield f"  and {self.n_damages - len(self.damages)} more"


def read_all(
    reads: Iterable[Read], damages: Damages, total_bytes: int, n_workers: int, progress: Progress, label: str
) -> int:
    """Do the reads on threads, and count their bytes, about ``total_bytes``; ``damages`` takes what is wrong."""
    n_bytes = 0
    progress.start(label, _megabytes(total_bytes), "MB")
    try:
        for n_read, text in ordered_map(lambda read: read(), reads, n_workers):
            progress.advance(_megabytes(n_bytes + n_read) - _megabytes(n_bytes))
            n_bytes += n_read
            if text:
                damages.add(text)
    finally:
        progress.finish()
    return n_bytes


def _megabytes(n_bytes: int) -> int:
    return -(-n_bytes // _MB)


def read_file(path: Path, expected: tuple[int, int] | None, decode: Callable[[], None] = lambda: None) -> Found:
    """Compare a file with its size and checksum, if they are known, and decode its chunks."""
    n_bytes = 0
    try:
        n_bytes, crc32 = (path.stat().st_size, 0) if expected is None else summed(path)
        if n_bytes == 0:
            return n_bytes, f"{path} is empty"
        if expected is not None and n_bytes != expected[0]:
            return n_bytes, f"{path} has {n_bytes} bytes, but was written with {expected[0]}"
        if expected is not None and crc32 != expected[1]:
            return n_bytes, f"{path} is not as it was written: its CRC-32 is {crc32:08x}, not {expected[1]:08x}"
        decode()
    except FileNotFoundError:
        return 0, f"{path} is not there"
    except OSError as error:
        return n_bytes, reason(error, path)
    return n_bytes, ""


def reason(error: OSError, path: Path | None = None) -> str:
    """What is wrong with a file or box, in words that name ``path``; raises what the machine lacks."""
    if (lacking := lack(error)) is not None:
        raise lacking from error
    text = str(error) if isinstance(error, DamagedInputError) else f"cannot be read: {error.strerror or error}"
    if path is None or str(path) in text:
        return text
    return f"{path}: {text}" if isinstance(error, DamagedInputError) else f"{path} {text}"
