"""What an estimate says of its model, for people."""

from __future__ import annotations

import numpy as np

from gpustitch.sections.model import Estimate


def fit_lines(found: Estimate) -> list[str]:
    """How well one curve explains the similarities, and what a trend of the spacing was taken for; for people."""
    if not np.isfinite(found.misfit):
        return []
    lines = [f"misfit of a similarity: {found.misfit:.2g} on average"]
    if not found.is_explained:
        lines.append("no other positions explain the similarities better than those at the start: sections stay there")
    elif found.undecided:
        other = "texture" if found.assumed == "thickness" else "thickness"
        lines.append(
            f"the spacing changes steadily, {found.spacing_ratio:.1f} to 1: taken for a trend of {found.assumed}; "
            f"errors span one of {other} (`assume`)"
        )
    elif found.assumed == "texture":
        lines.append(f"a trend of the spacing, {found.spacing_ratio:.1f} to 1, was taken out as one of texture")
    return lines
