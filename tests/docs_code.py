"""Code blocks of pages of the documentation, and the commands in them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.paths import ROOT

DOCS = ROOT / "docs"
# Pages by their path in the repository.
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))
}
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_SEPARATORS = {"&&", "||", "&", ";", "|"}


def blocks_of(page: Path, *languages: str) -> list[str]:
    """The blocks of a page in one of these languages, in order."""
    marked = "|".join(languages)
    return re.findall(rf"^```(?:{marked})\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def python_of(page: Path) -> list[str]:
    """The blocks of Python of a page, in order."""
    return blocks_of(page, "python")


def commands_of(page: Path) -> list[list[str]]:
    """The words of each ``gpustitch ...`` in the shell blocks of a page, without the first, in order."""
    return [command for block in blocks_of(page, "sh", "bash") for command in _commands(block)]


def _commands(block: str) -> Iterator[list[str]]:
    for line in re.sub(r"\\\n", " ", block).splitlines():
        words: list[str] = []
        for word in [*_words(_COMMENT.sub("", line)), ";"]:
            if word not in _SEPARATORS:
                words.append(word)
                continue
            if "gpustitch" in words:
                yield words[words.index("gpustitch") + 1 :]
            words = []


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&;|")
    lexer.whitespace_split, lexer.commenters = True, ""
    return list(lexer)


def expanded(page: Path, folder: Path) -> list[list[str]]:
    """The same as bash expands them in ``folder``: loops, variables, names of files. Nothing is executed but bash.

    Programs other than ``gpustitch`` do nothing; ``ssh`` and what it would execute elsewhere is left out.
    """
    record = folder / ".recorded"
    stubs = "".join(f"{name}() {{ :; }}\n" for name in ("pip", "python", "ssh", "kill", "wait", "trap", "scontrol"))
    tell = f"gpustitch() {{ printf '%s\\0' \"$@\" '\n' >> {shlex.quote(str(record))}; }}\n"
    blocks = [re.sub(r"&& \. \S+activate", "", block) for block in blocks_of(page, "sh", "bash")]
    subprocess.run(["bash", "-eu", "-c", stubs + tell + "\n".join(blocks)], cwd=folder, check=True)
    commands = record.read_text(encoding="utf-8").split("\n\0") if record.exists() else []
    record.unlink(missing_ok=True)
    return [command.split("\0")[:-1] for command in commands if command]


def prose_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
