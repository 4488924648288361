"""Why a link was rejected, and what would help: each text names the parameter to change."""

from __future__ import annotations

from collections.abc import Sequence


def no_room(overlap: Sequence[int], needed: Sequence[int]) -> str:
    """The overlap and what a window needs are (z, y, x) in voxels."""
    return (
        f"the overlap of {xyz_text(overlap)} voxels (x,y,z) has no room for a window, which needs {xyz_text(needed)}; "
        "give a smaller `window_px`"
    )


def uncorrelated(n_points: int, min_correlation: float, best: float) -> str:
    """No point is alike in both tiles."""
    return (
        f"none of {n_points} points correlates by {min_correlation:g} (best {best:.3f}); give a larger `search_px` if "
        "the stage may be further off, or a smaller `min_correlation` if tiles are noisy"
    )


def disagreeing(n_agreeing: int, n_good: int) -> str:
    """Too few of the points that correlate show the same offset."""
    return f"only {n_agreeing} of {n_good} matches agree; give a larger `sample_count`, or a larger `window_px`"


def contradicting(off_px: float) -> str:
    """The links that close loops with this one say otherwise."""
    return (
        f"contradicts the other links by {off_px:.1f} voxels; a larger `window_px` tells structures apart that repeat, "
        "a larger `search_px` finds a tile that is further off"
    )


def off_the_stage(off_px: float) -> str:
    """No loop holds the link, and the stage is never that far off."""
    return (
        f"lies {off_px:.1f} voxels from where the stage model puts it, and no loop supports it; a larger `window_px` "
        "or `sample_count` makes it surer"
    )


def xyz_text(zyx: Sequence[int]) -> str:
    """Whole numbers (z, y, x) for people: x first."""
    return " x ".join(str(n) for n in reversed(zyx))
