"""Notebooks, executed without Jupyter: their cells, what they print and draw, and a page of each for the site."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOTEBOOKS = sorted((Path(__file__).parent / "notebooks").glob("*.ipynb"))
_DPI = 80


@dataclass(frozen=True)
class Cell:
    """A cell: its text, and for code what it printed and the PNG files that it drew."""

    source: str
    is_code: bool
    printed: str = ""
    drawn: tuple[bytes, ...] = ()


def cells(notebook: Path) -> list[Cell]:
    """The cells of a notebook, not executed."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return [Cell("".join(cell["source"]), cell["cell_type"] == "code") for cell in content["cells"]]


def executed(notebook: Path, names: dict[str, Any] | None = None) -> list[Cell]:
    """The cells of a notebook, executed one after the other in an empty folder.

    ``names`` takes the variables. The value of a cell's last line is printed, and figures are drawn, as Jupyter does.
    """
    names = {} if names is None else names
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            return [_executed(cell, names, notebook.name) if cell.is_code else cell for cell in cells(notebook)]
        finally:
            os.chdir(before)


def _executed(cell: Cell, names: dict[str, Any], where: str) -> Cell:
    import matplotlib

    matplotlib.use("Agg")
    text = io.StringIO()
    with contextlib.redirect_stdout(text), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        value = _run(cell.source, names, where)
    lines = [f"{warning.category.__name__}: {warning.message}" for warning in told]
    shown = [] if value is None else [repr(value)]
    printed = "\n".join(line for line in (*lines, text.getvalue().rstrip(), *shown) if line)
    return Cell(cell.source, True, printed, tuple(_drawn()))


def _run(source: str, names: dict[str, Any], where: str) -> Any:
    """Execute code; return the value of its last line if that is an expression."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) and not source.rstrip().endswith(";") else None
    exec(compile(ast.Module(body, []), where, "exec"), names)
    return eval(compile(ast.Expression(last.value), where, "eval"), names) if isinstance(last, ast.Expr) else None


def _drawn() -> Iterator[bytes]:
    from matplotlib import pyplot

    for number in pyplot.get_fignums():
        target = io.BytesIO()
        pyplot.figure(number).savefig(target, format="png", dpi=_DPI, bbox_inches="tight")
        yield target.getvalue()
    pyplot.close("all")


def page_of(notebook: Path, *, is_executed: bool = True) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, with what it prints and its pictures by name if it is executed."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in executed(notebook) if is_executed else cells(notebook):
        parts.append(f"```python\n{cell.source}\n```" if cell.is_code else cell.source)
        if cell.printed:
            parts.append(f"```text\n{cell.printed}\n```")
        for picture in cell.drawn:
            name = f"{notebook.stem}_{len(pictures)}.png"
            pictures[name] = picture
            parts.append(f"![What the code above draws]({name})")
    parts.append(f"[The notebook itself]({notebook.name})")
    return "\n\n".join(parts) + "\n", pictures
