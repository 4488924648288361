"""Why an overlap gives no link, for people."""

from __future__ import annotations

from gpustitch.model import ZYX
from gpustitch.model.arrays import PxZYX
from gpustitch.oblique.align.matching import xyz_text
from gpustitch.oblique.align.overlaps.peaks import Found

# Said of windows that correlate and have no peak: then the whole overlap has none that can be trusted either.
NO_PEAK = "knows its place along every direction"
# Tiles seem to be mirrored that fit so many standard deviations well so, and this many times as well as they are.
_MIRRORED_LEAST, _MIRRORED = 10.0, 2.0
# Places that correlate by this part as much as the best are alike.
_ALIKE = 0.5
# What is turned over in a mirror image along an axis (z, y, x).
_TURNED: dict[tuple[int, ...], str] = {
    (0,): "the order of columns",
    (1,): "the order of rows",
    (2,): "the order of frames",
}


def why_nothing(found: Found, reach_px: ZYX) -> str:
    """Why no place within reach (z, y, x) of the assumed one can be trusted."""
    if not found.n_voxels:
        return f"the tiles share nothing within {xyz_text(reach_px)} voxels (x,y,z); give a larger `search_px`"
    if not found.peaks:
        return "nothing in the overlap can be compared: it shows no structure"
    first = found.peaks[0]
    if found.mirror and found.mirrored > max(_MIRRORED_LEAST, _MIRRORED * first.height):
        return (
            f"the tiles fit as mirror images ({found.mirrored:.1f} standard deviations, as they are {first.height:.1f})"
            f": {_TURNED.get(found.mirror, 'the picture')} of one seems turned over; write its frames as those of "
            "the others; if they are, give a larger `search_px`"
        )
    if first.is_drawn_out:
        return (
            "along a line of places all fit alike: fibres, layers or a pattern of the camera run on through the "
            "overlap; a smaller `search_px` leaves out what the stage cannot have missed by"
        )
    others = [p for p in found.peaks[1:] if p.height > found.mirrored]
    if others and others[0].correlation < _ALIKE * first.correlation:
        return (
            f"the best place ({first.height:.1f} standard deviations) is one where the tiles share little, and another "
            f"reaches {others[0].height:.1f}; a smaller `search_px` leaves out places that the stage cannot have "
            "missed by, a wider overlap would tell"
        )
    if others:
        return (
            f"two places fit nearly alike ({first.height:.1f} and {others[0].height:.1f} standard deviations): the "
            "texture repeats; a smaller `search_px` leaves out places that the stage cannot have missed by"
        )
    return (
        f"no place stands out: the best of {first.height:.1f} standard deviations, mirror images reach "
        f"{found.mirrored:.1f}; the overlap is empty, or the stage further off: then give a larger `search_px`"
    )


def why_no_room(room_px: ZYX, window_px: ZYX) -> str:
    """Why an overlap (z, y, x) gives no link of windows of this size."""
    needed = [n + 2 for n in window_px]
    return (
        f"the overlap of {xyz_text(room_px)} voxels (x,y,z) has no room for a window, which needs {xyz_text(needed)}; "
        "give a smaller `window_px`"
    )


def why_none_leads(n_points: int, least: float, best: float, n_known: int) -> str:
    """Why none of so many windows tells the place.

    ``least`` is the correlation that counts, ``best`` the best there was, and ``n_known`` how many windows have a peak.
    """
    if not n_known and best >= least:
        return (
            f"none of {n_points} points {NO_PEAK}: fibres, layers or a pattern of the "
            "camera run on through the overlap; a smaller `sigma_um` sees finer structures"
        )
    return (
        f"none of {n_points} points leads there and correlates by {least:g} (best {best:.3f}); give a larger "
        "`window_px` or `sample_count`"
    )


def why_loose(sigma_px: PxZYX, loosest_px: float) -> str:
    """Why a place with this standard error (z, y, x) is known too badly to be one; empty if it is not."""
    if max(sigma_px) <= loosest_px:
        return ""
    return (
        f"what both tiles show tells the place only to +- {1.96 * max(sigma_px):.1f} voxels (95 %): it is too little, "
        "and not alike; a smaller `sigma_um` sees finer structures, and stripes or uneven light, where left, hide them"
    )


def why_disagreeing(n_agreeing: int, n_correlated: int) -> str:
    """Why matches of which so few agree make no link."""
    agree = f"only {n_agreeing} of {n_correlated} matches agree"
    return f"{agree}; give a larger `sample_count` or `window_px`"
