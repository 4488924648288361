"""What an estimate says of its model, for people."""

from __future__ import annotations

import numpy as np

from gpustitch.running.progress import Progress, listed
from gpustitch.sections.model import Estimate, EstimateOptions
from gpustitch.sections.positions.solve import EXPLAINED, MUCH
from gpustitch.sections.texture.trend import CHANGES


def fit_lines(found: Estimate) -> list[str]:
    """How well one curve explains the similarities, and what a trend of the spacing was taken for; for people."""
    if not np.isfinite(found.misfit):
        return []
    lines = [f"misfit of a similarity: {found.misfit:.2g} on average"]
    if not found.is_explained:
        lines.append(
            "sections stay at the positions they started at: none were found with a misfit below "
            f"{EXPLAINED:g} of that there"
        )
    elif found.undecided and found.parts_ratio > 1:
        done = "was taken out as one of texture" if found.assumed == "texture" else "may be one of texture, but stays"
        lines.append(
            f"parts of the sections differ, typically {found.parts_ratio:.1f} to 1, in how the spacing runs: a steady "
            f"trend ({found.spacing_ratio:.1f} to 1) {done}; errors span it (`assume`)"
        )
    elif found.undecided and found.texture_ratio >= CHANGES and found.assumed == "texture":
        lines.append(
            f"structures within the sections change, {found.texture_ratio:.1f} to 1 along the series: what of the "
            f"spacing goes with that ({found.spacing_ratio:.1f} to 1 in all) was taken out; errors span it (`assume`)"
        )
    elif found.undecided:
        other = "texture" if found.assumed == "thickness" else "thickness"
        lines.append(
            f"the spacing changes steadily, {found.spacing_ratio:.1f} to 1: taken for a trend of {found.assumed}; "
            f"errors span one of {other} (`assume`)"
        )
    elif found.assumed == "texture":
        lines.append(f"a trend of the spacing, {found.spacing_ratio:.1f} to 1, was taken out as one of texture")
    if found.solutions_apart > 0:
        lines.append(
            f"positions are one of several solutions, about as good; another one is {found.solutions_apart:.2g} "
            "sections off on average, and errors span it"
        )
    if found.if_texture > 0:
        lines.append(
            f"thickness and texture look alike: if the steady part of the spacing were texture that no plane shows, "
            f"sections would lie {found.if_texture:.2g} elsewhere on average; errors do not span that (`assume`)"
        )
    return lines


def fit_record(found: Estimate) -> dict[str, object]:
    """The same for programs; None for what ``compat`` does not know."""
    numbers = {
        "misfit": found.misfit,
        "relative_misfit": found.relative_misfit,
        "spacing_ratio_found": found.spacing_ratio,
        "texture_ratio": found.texture_ratio,
        "parts_ratio": found.parts_ratio,
    }
    # With ``compat`` neither is known.
    is_known = np.isfinite(found.misfit)
    apart = {
        "solutions_apart_sections": found.solutions_apart if is_known else None,
        "if_texture_sections": found.if_texture if is_known else None,
    }
    known = {name: value if np.isfinite(value) else None for name, value in numbers.items()}
    return {**known, "explained": found.is_explained, "assumed": found.assumed, "undecided": found.undecided, **apart}


def tell_fit(found: Estimate, options: EstimateOptions, undefined: set[int], progress: Progress) -> None:
    """Say which sections had no votes, how far the model holds, and whether positions had come to rest.

    ``undefined`` are the sections without similarity, which were named before.
    """
    if undefined:
        progress.warn("sections without similarity give and get no votes; they are left between their neighbours")
    if others := [int(i) for i in found.without_votes if int(i) not in undefined]:
        progress.warn(f"without votes, left between their neighbours: sections {listed(others)}")
    if found.assumed == "thickness" and found.spacing_ratio > options.spacing_ratio and options.assume == "auto":
        progress.warn(
            f"the mean spacing of stretches differs {found.spacing_ratio:.1f} to 1. If sections cannot differ so in "
            "thickness, what they show changes along the series; errors are larger than stated then"
        )
    if found.relative_misfit > MUCH:
        progress.warn(
            f"similarities scatter by {found.relative_misfit:.2g} about one curve, as they do where sections show "
            "little, or other things along the series; errors may be several times those stated"
        )
    if found.largest_move > options.tolerance and found.iterations >= options.outer_iterations:
        text = f"positions still moved by {found.largest_move:.2g} sections in iteration {found.iterations}"
        if options.compat:
            progress.note(text)
        elif found.is_settling:
            progress.warn(f"{text}; `outer_iterations` allows more")
        else:
            progress.warn(f"{text} and do not come to rest: the similarities contradict each other; more will not help")
