"""What of the site is not written twice: the README, the records beside it, options of commands, calls, notebooks."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files

from gpustitch.cli.build import flags_of
from gpustitch.cli.values import TEXTS
from gpustitch.model.options import Leaf, leaves

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from docs.notebook_pages import NOTEBOOKS, page_of  # noqa: E402

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
_HEAD = "| option | unit | default | |\n|---|---|---|---|"
# Units that names of fields end with.
_UNITS = {"_um": "um", "_mm": "mm", "_px": "pixels", "_deg": "degrees", "_bytes": "bytes", "_db": "dB", "_s": "s"}
# How a help states the unit of a number: "..., pixels.", "in sections", "Voxels between ...".
_UNIT = re.compile(
    r"(?:, |\bin |\bof )(um|mm|pixels|counts|voxels|sections|planes|degrees)\b(?= x,y,z|[.,;]|$)"
    r"|^(Counts|Voxels|Frames|Pixels)\b"
)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and pictures that lie elsewhere or are generated."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_relinked(text, source)))
    for asset in ASSETS:
        files.append(File.generated(config, asset, abs_src_path=str(ROOT / asset)))
    for notebook in NOTEBOOKS:
        text, pictures = page_of(notebook, is_executed=os.environ.get("GPUSTITCH_DOCS_NOTEBOOKS") != "off")
        place = notebook.relative_to(ROOT / "docs").with_suffix(".md").as_posix()
        files.append(File.generated(config, place, content=text))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    files.append(File.generated(config, "api.md", content="\n".join(_calls())))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links of pages in docs/ to files above it, as links to the pages made of those."""
    source = page.file.src_uri
    if source in PAGES.values() or source.startswith("notebooks/"):
        return markdown
    return _relinked(markdown, f"docs/{source}") + ("\n" + "\n".join(_commands()) if source == "commands.md" else "")


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
        place = PAGES.get(inside, inside.removeprefix("docs/").replace(".ipynb", ".md"))
        return f"]({place}{match[2] or ''})"

    return _LINK.sub(link, text)


def _commands() -> Iterator[str]:
    """A section for each command: its help, and a table of its options; first of what all commands take."""
    modules = importlib.import_module("gpustitch.cli.main").COMMANDS
    commands = {name: importlib.import_module(module).command for name, module in modules.items()}
    switches = {name: list(switches_of(command)) for name, command in commands.items()}
    of_all = [switch for switch in switches["pipeline"] if all(switch in others for others in switches.values())]
    yield "## In all commands\n"
    yield _HEAD
    yield from (_row(*switch) for switch in of_all)
    yield ""
    for name, command in commands.items():
        yield f"## {name}\n"
        yield f"{_plain(inspect.getdoc(command) or '')}\n"
        found = leaves(command.options_type, command.without)
        flags = flags_of(found)
        yield _HEAD
        for leaf in found:
            if not leaf.declared.is_hidden:
                yield _row(_flags(leaf), unit_of(leaf), *(_in_flags(text, flags) for text in _said(leaf)))
        yield from (_row(*switch) for switch in switches[name] if switch not in of_all)
        yield ""


def switches_of(command: Any) -> Iterator[tuple[str, str, str, str]]:
    """Options of a command that are no field of its options: flags, unit, default and help."""
    app = typer.Typer(add_completion=False)
    app.command()(command)
    fields = {"__".join(leaf.path) for leaf in leaves(command.options_type, command.without)}
    for parameter in typer.main.get_command(app).params:
        if parameter.name in fields or getattr(parameter, "hidden", False):
            continue
        named, default = ", ".join(f"`{flag}`" for flag in parameter.opts), parameter.default
        shown = ("on" if default else "off") if isinstance(default, bool) else "" if default is None else f"`{default}`"
        yield named, "", shown, getattr(parameter, "help", None) or ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _flags(leaf: Leaf) -> str:
    named = ", ".join(f"`{flag}`" for flag in leaf.flags)
    return named or f"`{leaf.declared.metavar or leaf.name.upper()}`"


def unit_of(leaf: Leaf) -> str:
    """The unit of an option: as declared, else by its field's name or its help; empty if it has none."""
    if leaf.declared.unit and leaf.declared.unit != "px":
        return leaf.declared.unit
    stated = _UNIT.search(leaf.declared.help)
    if stated and leaf.declared.text != "bytes" and re.search(r"\b(int|float)\b", str(leaf.type)):
        return (stated[1] or stated[2]).lower()
    return next((unit for end, unit in _UNITS.items() if leaf.name.endswith(end)), "")


def _in_flags(text: str, flags: Mapping[str, str]) -> str:
    """A text with the flags that users type in place of the names of fields."""
    return re.sub(r"`(\w+)`", lambda name: f"`{flags.get(name[1], name[1])}`", text)


def _said(leaf: Leaf) -> tuple[str, str]:
    """The default of an option; and its help, with the range of what it takes and its environment variable."""
    declared = leaf.declared
    allowed = f" It is {declared.range_text}." if declared.range_text else ""
    return _default(leaf), declared.help + allowed + (f" Environment: {declared.env}." if declared.env else "")


def _default(leaf: Leaf) -> str:
    if leaf.declared.shown is not None:
        return leaf.declared.shown
    if leaf.is_required:
        return "(needed)"
    if isinstance(leaf.default, bool):
        return "on" if leaf.default else "off"
    if leaf.default in (None, (), ""):
        return ""
    return f"`{_typed(leaf)}`"


def _typed(leaf: Leaf) -> str:
    """The default as a user types it."""
    if leaf.declared.text is not None:
        return str(TEXTS[leaf.declared.text].show(leaf.default))
    return ",".join(map(str, leaf.default)) if isinstance(leaf.default, tuple) else str(leaf.default)


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
