"""Pages of the site that are not written twice: the README, the records beside it, and the options of all commands."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from gpustitch.model.options import Leaf, leaves

ROOT = Path(__file__).parents[1]
# Pages made of files outside docs/.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "bench/README.md": "speed.md",
}
ASSETS = ("bench/results/demo.png",)
# Marks of Sphinx in docstrings, which this site has no use for.
_ROLE = re.compile(r":?(?:class|func|mod|meth|data|attr):(?:`([^`<]+)`|(?=<code>))")
_CODE = re.compile(r"``([^`<]+)``")
_LINK = re.compile(r"\]\(([^)#:]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and pictures that lie elsewhere or are generated."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_relinked(text, source)))
    for asset in ASSETS:
        files.append(File.generated(config, asset, abs_src_path=str(ROOT / asset)))
    files.append(File.generated(config, "commands.md", content="\n".join(_commands())))
    files.append(File.generated(config, "api.md", content="\n".join(_calls())))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links of pages in docs/ to files above it, as links to the pages made of those."""
    source = page.file.src_uri
    return markdown if source in PAGES.values() else _relinked(markdown, f"docs/{source}")


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Docstrings without marks of Sphinx."""
    if page.file.src_uri != "api.md":
        return html
    html = _ROLE.sub(lambda match: f"<code>{match[1]}</code>" if match[1] else "", html)
    return _CODE.sub(r"<code>\1</code>", html)


def _relinked(text: str, source: str) -> str:
    """Links from a file of the repository, as they are on the site."""

    def link(match: re.Match[str]) -> str:
        target = (ROOT / source).parent.joinpath(match[1]).resolve()
        if not target.is_relative_to(ROOT):
            return match[0]
        inside = target.relative_to(ROOT).as_posix()
        place = PAGES.get(inside, inside.removeprefix("docs/"))
        return f"]({place}{match[2] or ''})"

    return _LINK.sub(link, text)


def _commands() -> Iterator[str]:
    """A section for each command: its help, and a table of its options."""
    yield "# Commands\n"
    yield "Every option of every command, made of the same declarations as `--help` and the library's options.\n"
    for name, module in importlib.import_module("gpustitch.cli.main").COMMANDS.items():
        command = importlib.import_module(module).command
        yield f"## {name}\n"
        yield f"{_plain(inspect.getdoc(command) or '')}\n"
        kind = getattr(command, "options_type", None)
        if kind is None:
            continue
        yield "| option | unit | default | |\n|---|---|---|---|"
        for leaf in leaves(kind, command.without):
            if leaf.declared.is_hidden:
                continue
            shown = ", ".join(f"`{flag}`" for flag in leaf.flags) or f"`{leaf.declared.metavar or leaf.name.upper()}`"
            cells = (shown, leaf.declared.unit or "", _default(leaf), leaf.declared.help)
            yield f"| {' | '.join(map(_cell, cells))} |"
        yield ""


def _default(leaf: Leaf) -> str:
    if leaf.declared.shown is not None:
        return leaf.declared.shown
    if leaf.is_required:
        return "(needed)"
    if isinstance(leaf.default, bool):
        return "on" if leaf.default else "off"
    if leaf.default in (None, (), ""):
        return ""
    value = ",".join(map(str, leaf.default[::-1])) if isinstance(leaf.default, tuple) else leaf.default
    return f"`{value}`"


def _plain(text: str) -> str:
    """Help without the marks of rich, its examples as code."""
    text = re.sub(r"\[/?(?:bold|dim|italic|cyan|green|yellow)[^\]]*\]", "", text)
    return re.sub(r"\n{3,}", "\n\n", text.replace("\b", "")).strip()


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _calls() -> Iterator[str]:
    """The reference of all that ``import gpustitch as gs`` offers."""
    public = importlib.import_module("gpustitch")
    yield "# Calls\n"
    yield "What `import gpustitch as gs` offers. Axes are z, y, x.\n"
    for home, names in public._HOMES.items():
        title = (importlib.import_module(home).__doc__ or home).strip().splitlines()[0]
        yield f"## {title}\n"
        for name in names:
            yield f"::: {getattr(public, name).__module__}.{name}\n"
