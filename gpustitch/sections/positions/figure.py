"""The report of an estimate of section positions as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.errors import MissingExtraError, ParameterError
from gpustitch.model.arrays import Floats, Integers
from gpustitch.sections.faults.find import SectionFault
from gpustitch.sections.faults.report import missing_text, open_gaps
from gpustitch.sections.model import Estimate

FIGURE_SUFFIXES = (".pdf", ".png", ".svg")

# Of more sections than this, or many times the range, only the band along the diagonal can be seen.
_MOST_IN_MATRIX, _RANGES_IN_MATRIX = 1000, 16
# So many pairs are drawn as dots that can be seen one by one.
_FEW_PAIRS = 1000
# Of more pairs and curves than these only some are drawn: a picture shows no more.
_MOST_DOTS, _MOST_CURVES = 20_000, 8
# Steps of a picture of similarities, for each section, where positions spread far.
_MOST_STEPS = 8
# In sections: spacings that differ by less differ by rounding.
_SAME_SPACING = 1e-6
# Half width of a 90 % interval in standard errors.
_NINETY_PERCENT = 1.645
_COLORS = {
    "constant": "black",
    "damaged": "tab:red",
    "duplicate": "tab:purple",
    "missing": "tab:orange",
    "swapped": "tab:green",
}
_NO_VOTES = "no votes"
_PANEL_WIDTH = 48  # characters of a line of flagged sections


def check_figure(path: Path) -> None:
    """Raise ParameterError for a name that is no picture's, MissingExtraError if pictures cannot be drawn."""
    if path.suffix.lower() not in FIGURE_SUFFIXES:
        raise ParameterError(f"`report` is a picture, {', '.join(FIGURE_SUFFIXES)}, not {path}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("`report` needs matplotlib: pip install 'gpustitch[report]'") from error


def draw_report(
    path: Path, half_strip: Floats, result: Estimate, faults: Sequence[SectionFault], image_format: str
) -> None:
    """Draw similarities before and after, curve, positions, spacing and flagged sections.

    Parameters
    ----------
    path
        File to write.
    half_strip
        (n, range + 1) similarities in the order of recording.
    result, faults
        The estimate, and what was found wrong.
    image_format
        ``pdf``, ``png`` or ``svg``.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(13, 10.5), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    panels = figure.subplot_mosaic(
        [["before", "after", "curve"], ["positions", "positions", "spacing"], ["quality", "quality", "flags"]],
        height_ratios=(1.2, 1, 0.9),
    )
    n = len(result.positions)
    shades = dict(zip(("vmin", "vmax"), _shades(half_strip), strict=True))
    recorded = np.arange(n, dtype=np.float64)
    image = _draw_similarity(panels["before"], half_strip, recorded, np.arange(n), shades)
    panels["before"].set_title("Similarity as recorded", fontsize=10)
    _draw_similarity(panels["after"], half_strip, result.positions, result.order, shades)
    panels["after"].set_title("Similarity at the estimated positions", fontsize=10)
    shown = [panels["before"], panels["after"]]
    figure.colorbar(image, ax=shown, fraction=0.05, pad=0.01, label="similarity (correlation)")
    _draw_curve(panels["curve"], half_strip, result)
    _draw_positions(panels["positions"], result, faults)
    _draw_spacing(panels["spacing"], np.diff(result.positions[result.order]))
    _draw_quality(panels["quality"], half_strip, result, faults)
    _write_flags(panels["flags"], result, faults)
    moved = int(np.count_nonzero(result.order != np.arange(n)))
    figure.suptitle(f"{n} sections, range {half_strip.shape[1] - 1}, {result.iterations} iterations, {moved} reordered")
    figure.savefig(path, format=image_format, dpi=120)


def similarity_picture(
    half_strip: Floats, positions: Floats, order: Integers
) -> tuple[Floats, tuple[float, float, float, float]]:
    """Similarities at equal steps along z, each of the sections nearest to it, and the picture's extent.

    Parameters
    ----------
    half_strip
        (n, range + 1).
    positions, order
        Position of each section, and the sections in the order of their positions.

    Returns
    -------
    A matrix (m, m), or, of long series, the band (range + 1, m): distance against position. NaN where there is none.
    """
    n, width = half_strip.shape
    ascending = positions[order]
    first, last = float(ascending[0]), float(ascending[-1])
    steps = np.linspace(first, last, max(2, min(_MOST_STEPS * n, round(last - first) + 1)))
    nearest = order[np.rint(np.interp(steps, ascending, np.arange(n))).astype(np.int64)]
    if n <= min(_MOST_IN_MATRIX, _RANGES_IN_MATRIX * width):
        matrix = _looked_up(half_strip, nearest[:, None], nearest[None, :])
        return matrix, (first - 0.5, last + 0.5, last + 0.5, first - 0.5)
    band = np.full((width, len(nearest)), np.nan)
    for d in range(min(width, len(nearest))):
        band[d, : len(nearest) - d] = _looked_up(half_strip, nearest[: len(nearest) - d], nearest[d:])
    return band, (first - 0.5, last + 0.5, width - 0.5, -0.5)


def _looked_up(half_strip: Floats, i: Integers, j: Integers) -> Floats:
    """Similarity of sections i and j, arrays that broadcast; NaN beyond the range."""
    width = half_strip.shape[1]
    distance = np.abs(i - j)
    found: Floats = half_strip[np.minimum(i, j), np.minimum(distance, width - 1)]
    return np.where(distance < width, found, np.nan)


def _shades(half_strip: Floats) -> tuple[float, float]:
    """Similarities that are drawn darkest and brightest: nearly the least and the greatest ones."""
    known = half_strip[:, 1:][~np.isnan(half_strip[:, 1:])]
    low, high = np.percentile(known, (2, 99.5))
    return float(low), float(max(high, low + 1e-6))


def _draw_similarity(
    axes: Any, half_strip: Floats, positions: Floats, order: Integers, shades: dict[str, float]
) -> Any:
    """A matrix, or of long series its band, in the colours of ``shades``; what a colour bar is made from."""
    picture, extent = similarity_picture(half_strip, positions, order)
    is_matrix = picture.shape[0] == picture.shape[1]
    axes.set_facecolor("lightgray")
    axes.set(xlabel="position, sections", ylabel="position, sections" if is_matrix else "distance, sections")
    return axes.imshow(
        picture,
        extent=extent,
        aspect="equal" if is_matrix else "auto",
        interpolation="nearest",
        cmap="viridis",
        **shades,
    )


def _draw_curve(axes: Any, half_strip: Floats, result: Estimate) -> None:
    """Each pair at its estimated distance, and the curves that positions were found with."""
    n, width = half_strip.shape
    distances, values = [], []
    for d in range(1, min(width, n)):
        distances.append(np.abs(result.positions[d:] - result.positions[: n - d]))
        values.append(half_strip[: n - d, d])
    x, y = np.concatenate(distances), np.concatenate(values)
    every = max(1, len(x) // _MOST_DOTS)
    dots = {"markersize": 1.5, "alpha": 0.3} if len(x) > _FEW_PAIRS else {"markersize": 5, "alpha": 0.7}
    axes.plot(x[::every], y[::every], ".", color="tab:blue", label="pairs", rasterized=True, **dots)
    curves = result.curves[:: max(1, len(result.curves) // _MOST_CURVES)]
    for number, curve in enumerate(curves):
        label = ("curve" if len(curves) == 1 else "curves along the series") if number == 0 else None
        axes.plot(np.arange(len(curve)), curve, color="tab:orange", linewidth=1.5, label=label)
    axes.set_xlim(0, 1.3 * (width - 1) + 0.5)
    axes.set(xlabel="estimated distance, sections", ylabel="similarity")
    axes.set_title("Similarity against distance", fontsize=10)
    axes.legend(fontsize=8, markerscale=5 if len(x) > _FEW_PAIRS else 1)


def _draw_positions(axes: Any, result: Estimate, faults: Sequence[SectionFault]) -> None:
    """How far each section lies from where it was recorded: the curve itself would be a line at 45 degrees."""
    n = len(result.positions)
    index = np.arange(n)
    shift = result.positions - index
    margin = _NINETY_PERCENT * result.uncertainty
    if np.isfinite(margin).any():
        axes.fill_between(
            index, shift - margin, shift + margin, color="tab:blue", alpha=0.3, linewidth=0, label="90 % interval"
        )
    axes.plot(index, shift, color="tab:blue", linewidth=1, label="estimate")
    for flag, sections in _flagged(result, faults).items():
        _mark(axes, sections, shift, flag, label=flag)
    for number, gap in enumerate(open_gaps(faults)):
        label = "gap of unknown width" if number == 0 else None
        axes.axvline(float(np.mean(gap.sections)), color="gray", linestyle="--", linewidth=0.8, label=label)
    axes.axhline(0, color="gray", linewidth=0.5)
    axes.set(xlabel="section as recorded", ylabel="position - number, sections", xlim=(-0.5, n - 0.5))
    is_known = "" if np.isfinite(margin).any() else " (compat estimates no uncertainty)"
    axes.set_title(f"How far sections were moved{is_known}", fontsize=10)
    _legend_above(axes)


def _draw_spacing(axes: Any, spacing: Floats) -> None:
    """How often neighbours are how far apart; few that are far beyond the others are drawn at the end."""
    top = float(np.percentile(spacing, 99)) * 1.5
    shown = np.minimum(spacing, top) if spacing.max() > top > 0 else spacing
    # Spacings that are the same but for rounding are in one bar.
    around = (float(shown.min()) - 0.5, float(shown.max()) + 0.5) if np.ptp(shown) < _SAME_SPACING else None
    axes.hist(shown, range=around, bins=min(60, max(10, len(spacing) // 6)), color="tab:blue")
    axes.axvline(np.median(spacing), color="black", linewidth=1, label=f"median {np.median(spacing):.3f}")
    axes.set(xlabel="distance of neighbours, sections", ylabel="number of intervals")
    axes.yaxis.get_major_locator().set_params(integer=True)
    beyond = int(np.count_nonzero(spacing > shown.max()))
    axes.set_title("Spacing" + (f" ({beyond} beyond {top:.2g} shown there)" if beyond else ""), fontsize=10)
    axes.legend(fontsize=8)


def _draw_quality(axes: Any, half_strip: Floats, result: Estimate, faults: Sequence[SectionFault]) -> None:
    """Weight of each section, and how similar it is to the next one recorded."""
    n = len(result.positions)
    axes.plot(np.arange(n), result.weights, color="tab:blue", linewidth=1, label="weight")
    axes.plot(
        np.arange(n - 1) + 0.5, half_strip[: n - 1, 1], color="tab:gray", linewidth=0.7, label="similarity to next"
    )
    for flag, sections in _flagged(result, faults).items():
        _mark(axes, sections, result.weights, flag)
    axes.set(xlabel="section as recorded", xlim=(-0.5, n - 0.5))
    axes.set(ylabel="weight, similarity")
    axes.set_title("Quality of sections", fontsize=10)
    _legend_above(axes)


def _legend_above(axes: Any) -> None:
    """A legend in a row above what is drawn, which is given room for it."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.17 * (high - low))
    axes.legend(
        fontsize=8, ncols=9, loc="upper left", columnspacing=0.8, handletextpad=0.4, handlelength=1.2
    ).set_in_layout(False)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _mark(axes: Any, sections: list[int], values: Floats, flag: str, label: str | None = None) -> None:
    """Dots of the flag's colour; a ring around others where there were no votes."""
    if flag == _NO_VOTES:
        axes.plot(sections, values[sections], "o", color="gray", fillstyle="none", markersize=8, label=label)
    else:
        axes.plot(sections, values[sections], "o", color=_COLORS.get(flag, "gray"), markersize=4, label=label)


def _flagged(result: Estimate, faults: Sequence[SectionFault]) -> dict[str, list[int]]:
    """Sections by what is wrong with them."""
    flagged = {
        fault_type: sorted({i for fault in faults if fault.fault_type == fault_type for i in fault.sections})
        for fault_type in dict.fromkeys(fault.fault_type for fault in faults)
    }
    if result.without_votes.size:
        flagged[_NO_VOTES] = [int(i) for i in result.without_votes]
    return flagged


def _write_flags(axes: Any, result: Estimate, faults: Sequence[SectionFault], lines: int = 15) -> None:
    """The flagged sections in words, type by type; of a type with many as many as there is room for."""
    types = sorted({fault.fault_type for fault in faults})
    found = [_of_one_type([fault for fault in faults if fault.fault_type == fault_type]) for fault_type in types]
    in_faults = {i for fault in faults for i in fault.sections}
    if others := [int(i) for i in result.without_votes if int(i) not in in_faults]:
        found.insert(0, f"{_NO_VOTES}: {', '.join(map(str, others))}")
    each = max(1, lines // max(1, len(found)))
    text = "\n".join(_wrapped(words, each) for words in found)
    axes.set_axis_off()
    axes.set_title("Flagged sections (and how sure it is)", fontsize=10)
    axes.text(0, 1, text or "none", va="top", fontsize=8, family="monospace", transform=axes.transAxes)


def _of_one_type(faults: Sequence[SectionFault]) -> str:
    """Faults of one type: how sure they are, and the sections; missing ones between two, or stretches, as ranges."""
    sure = sorted(round(100 * fault.confidence) for fault in faults)
    span = f"{sure[0]} %" if sure[0] == sure[-1] else f"{sure[0]} to {sure[-1]} %"
    named = []
    for fault in faults:
        several = f"{fault.sections[0]}-{fault.sections[-1]}" if len(fault.sections) > 1 else str(fault.sections[0])
        named.append(several + (f" ({missing_text(fault)})" if fault.missing else ""))
    return f"{faults[0].fault_type} ({span}): {', '.join(named)}"


def _wrapped(words: str, lines: int) -> str:
    """Words in at most so many lines of the panel's width."""
    return textwrap.fill(words, _PANEL_WIDTH, max_lines=lines, placeholder=" ...", subsequent_indent="  ")
