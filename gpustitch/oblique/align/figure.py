"""The picture of an alignment: how tiles were moved, what holds each and how sure it is, what is left of each link."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.errors import MissingExtraError
from gpustitch.model import Support, UmXYZ
from gpustitch.model.arrays import Floats
from gpustitch.oblique.align.report import HELD_BY
from gpustitch.oblique.align.solve import link_sigma
from gpustitch.oblique.mosaic.file import AlignmentRecord
from gpustitch.running.progress import counted

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")

# The longest arrow is at most this part of the distance of neighbouring tiles.
_LONGEST = 0.8
_AXES = (("z", "tab:green"), ("y", "tab:orange"), ("x", "tab:blue"))
_COLOURS: Mapping[Support | None, str] = {"loop": "black", "link": "darkorange", "stage": "red", None: "gray"}
# More names than this cannot be read.
_MOST_NAMES = 60


def check_matplotlib() -> None:
    """Raise MissingExtraError if pictures cannot be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "`report` as a picture needs matplotlib: pip install 'gpustitch[report]', or name a .md file"
        ) from error


def draw_report(path: Path, record: AlignmentRecord, image_format: str) -> None:
    """Draw the report of an alignment.

    Parameters
    ----------
    path
        File to write.
    record
        The alignment.
    image_format
        ``png``, ``pdf`` or ``svg``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 6), layout="constrained")
    tiles, errors, links = figure.subplots(1, 3, width_ratios=(4, 3, 3))
    known = {name: record.placement.standard_error_um(name, record.spacing) for name in record.placement.origin_px}
    _draw_tiles(tiles, record, known)
    _draw_errors(errors, record, known)
    _draw_links(links, record)
    figure.suptitle(_headline(record))
    figure.savefig(path, format=image_format, dpi=120)


def _headline(record: AlignmentRecord) -> str:
    accepted = sum(not link.reason for link in record.placement.links)
    tiles, links = counted(len(record.placement.origin_px), "tiles"), counted(len(record.placement.links), "links")
    text = f"{tiles}, {accepted} of {links} accepted"
    if record.placement.is_unaligned:
        text += ": UNALIGNED"
    if record.voxel_size_estimate_um is None:
        return f"{text}; y voxel size not measured"
    return (
        f"{text}; y voxel size {record.voxel_size_estimate_um:.4f} ± {record.voxel_size_uncertainty_um:.4f} µm, "
        f"used {record.spacing.y_um:.4f} µm"
    )


def _draw_tiles(axes: Any, record: AlignmentRecord, known: Mapping[str, UmXYZ | None]) -> None:
    """Arrows from the stage's position; at each tip an ellipse of the standard error, to the arrows' scale."""
    from matplotlib.patches import Ellipse

    spacing = np.array(record.spacing.zyx_um)
    nominal = np.array([record.nominal_px[name] for name in known], np.float64) * spacing
    solved = np.array([record.placement.origin_px[name] for name in known]) * spacing
    moved = solved - nominal
    moved -= moved.mean(axis=0)
    times = _exaggeration(nominal, moved)
    tips = nominal + times * moved
    axes.quiver(
        nominal[:, 2], nominal[:, 1], moved[:, 2], moved[:, 1],
        angles="xy", scale_units="xy", scale=1 / times, color="tab:blue", width=0.003,
    )  # fmt: skip
    axes.update_datalim(tips[:, :0:-1])
    axes.margins(0.15)
    for error, tip in zip(known.values(), tips, strict=True):
        if error is not None:
            size = [2 * times * um for um in error[:2]]
            axes.add_patch(Ellipse((tip[2], tip[1]), *size, color="tab:blue", alpha=0.25, linewidth=0))
    for support, color in _COLOURS.items():
        held = [n for n, name in enumerate(known) if record.placement.support.get(name) == support]
        if held:
            axes.plot(nominal[held, 2], nominal[held, 1], "s", color=color, markersize=4, label=HELD_BY[support])
    if len(known) <= _MOST_NAMES:
        for name, (_, y, x) in zip(known, nominal, strict=True):
            axes.annotate(name, (x, y), fontsize=6, xytext=(3, 3), textcoords="offset points")
    axes.set(xlabel="x, µm", ylabel="y, µm")
    axes.set_title(f"Tiles and how they were moved, with standard errors ({times:g}x)", fontsize=10)
    axes.set_aspect("equal", adjustable="datalim")
    axes.invert_yaxis()
    axes.legend(loc="upper right", title="held by", fontsize=7, title_fontsize=7)


def _exaggeration(nominal_um: Floats, moved_um: Floats) -> float:
    """How much larger than true arrows and ellipses are drawn: 1, 2 or 5 times a power of ten."""
    apart = np.ptp(nominal_um[:, 1:], axis=0).max() / max(1.0, len(nominal_um) ** 0.5 - 1)
    longest = np.linalg.norm(moved_um[:, 1:], axis=1).max()
    if apart <= 0 or longest <= 0:
        return 1.0
    most = _LONGEST * apart / longest
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(n for n in (power, 2 * power, 5 * power) if n <= most))


def _draw_errors(axes: Any, record: AlignmentRecord, known: Mapping[str, UmXYZ | None]) -> None:
    """The standard error of each tile along each axis, on a logarithmic scale; names in the colour of what holds it."""
    names = list(known)
    for offset, (axis, color) in enumerate(_AXES):
        errors = [np.nan if (error := known[name]) is None else error[2 - offset] for name in names]
        axes.plot(range(len(names)), errors, "o", color=color, markersize=3, label=axis)
    stated = [um for error in known.values() if error is not None for um in error if um > 0]
    if stated:
        axes.set_yscale("log")
    else:
        axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center")
    _name_ticks(axes, names)
    if len(names) <= _MOST_NAMES:
        for tick, name in zip(axes.get_xticklabels(), names, strict=True):
            tick.set_color(_COLOURS[record.placement.support.get(name)])
    axes.set_ylabel("standard error, µm")
    axes.set_title("Standard error of each tile, relative to the mean of all", fontsize=10)
    axes.legend(loc="upper right", fontsize=7)


def _draw_links(axes: Any, record: AlignmentRecord) -> None:
    accepted = [link for link in record.placement.links if not link.reason]
    for offset, (axis, color) in enumerate(_AXES):
        residuals = [record.placement.residual_px[link.fixed, link.moving][offset] for link in accepted]
        sigma = [link_sigma(link)[offset] for link in accepted]
        at = np.arange(len(accepted)) + 0.2 * (offset - 1)
        axes.errorbar(
            at, residuals, yerr=sigma, fmt="o", markersize=3, elinewidth=0.7, alpha=0.7, color=color, label=axis
        )
    axes.axhline(0, color="gray", linewidth=0.5)
    _name_ticks(axes, [f"{k.fixed}\n{k.moving}" for k in accepted])
    axes.set_ylabel("residual, voxels")
    axes.set_title("Residual of each link (bars: its standard error)", fontsize=10)
    axes.legend(loc="upper right", fontsize=7)


def _name_ticks(axes: Any, names: list[str]) -> None:
    if len(names) <= _MOST_NAMES:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=5)
    else:
        axes.set_xlabel(f"{len(names)} of them, in the order of the alignment file")
