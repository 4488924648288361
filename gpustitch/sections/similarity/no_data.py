"""Areas of planes that hold no picture: black borders of aligned sections, and what lies beyond a picture's edge."""

from __future__ import annotations

import numpy as np

from gpustitch.array import Array, namespace, scipy_of, to_host

# Values along the edge that are looked at, the commonest first.
_VALUES = 4
# Least part of the edge's pixels, and least number of them, that one value takes there.
_LEAST_OF_EDGE, _LEAST_AT_EDGE = 0.02, 8
# Least number of pixels of an area, and least part of the plane.
_LEAST_PIXELS, _LEAST_PART = 16, 0.001
# Saturated tissue lies everywhere: at most this part of an area's pixels lie in other areas of the same value. Above
# the first part pixels must jump more at the area's border: so many times what neighbours differ by in the picture.
_FEW_ELSEWHERE, _MOST_ELSEWHERE, _LEAST_JUMP, _LEAST_JUMP_OF_MANY = 0.02, 0.25, 1.0, 1.8
# Rows of which pixels are told from their neighbours at a time.
_ROWS = 64


def pixels_of_value(plane: Array, value: float) -> Array:
    """bool (rows, columns): where a plane has exactly this value."""
    if not _holds(plane.dtype, value):
        return namespace(plane).zeros(plane.shape, bool)  # type: ignore[no-any-return]
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and such pixels are not used
        return plane == plane.dtype.type(value)  # type: ignore[no-any-return]


def constant_at_edge(plane: Array) -> Array | None:
    """Areas of one value each that touch the edge of a plane, and hold no picture.

    Parameters
    ----------
    plane
        (rows, columns) of real numbers. NaN is of no value.

    Returns
    -------
    bool (rows, columns); None if there are none, and for a plane of one value only.

    Notes
    -----
    Pixels of an area are exactly equal and touch each other along their sides. An area counts from 16 pixels and a
    thousandth of the plane on, if its value takes a fiftieth of the edge. Tissue that is saturated or cut off at 0 may
    touch the edge too. But it has areas elsewhere as well, and pixels beside it hardly differ. So a value counts only
    if its areas elsewhere are small, and if pixels jump at its border: the more of them, the more. Planes of which
    three quarters are saturated may be taken wrongly.
    """
    if min(plane.shape) < 2:
        return None
    xp, ndimage = namespace(plane), scipy_of(plane).ndimage
    edge = to_host(xp.concatenate([plane[0], plane[-1], plane[1:-1, 0], plane[1:-1, -1]]))
    values, counts = np.unique(edge[np.isfinite(edge)], return_counts=True)
    least = max(_LEAST_AT_EDGE, _LEAST_OF_EDGE * edge.size)
    found: Array | None = None
    for at in np.argsort(-counts, kind="stable")[:_VALUES]:
        if counts[at] < least:
            break
        is_value = plane == values[at]
        labels, n = ndimage.label(is_value)
        sizes = to_host(xp.bincount(labels.ravel(), minlength=n + 1))
        if sizes[0] == 0:
            return None
        border = to_host(xp.concatenate([labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]]))
        counted = np.zeros(n + 1, bool)
        counted[np.unique(border)] = True
        counted &= sizes >= max(_LEAST_PIXELS, _LEAST_PART * is_value.size)
        counted[0] = False
        n_counted, n_all = int(sizes[counted].sum()), int(sizes[1:][sizes[1:] >= _LEAST_PIXELS].sum())
        if n_counted == 0 or n_all - n_counted > _MOST_ELSEWHERE * n_counted:
            continue
        area = xp.asarray(counted)[labels]
        is_few = n_all - n_counted <= _FEW_ELSEWHERE * n_counted
        if _jump(plane, area) < (_LEAST_JUMP if is_few else _LEAST_JUMP_OF_MANY):
            continue
        found = area if found is None else found | area
    return found


def _jump(plane: Array, area: Array) -> float:
    """Mean difference of pixels across the border of an area, in those of unequal neighbours outside it."""
    across, beside = [0.0, 0], [0.0, 0]
    xp = namespace(plane)
    for turned, there in ((plane, area), (plane.T, area.T)):
        # Some rows at a time: pixels of any size are told apart in float64.
        for start in range(0, len(turned) - 1, _ROWS):
            rows, is_area = turned[start : start + _ROWS + 1].astype(np.float64), there[start : start + _ROWS + 1]
            with np.errstate(over="ignore", invalid="ignore"):
                apart = xp.abs(rows[1:] - rows[:-1])
                known = xp.isfinite(apart)
                one, two = is_area[1:], is_area[:-1]
                for total, wanted in ((across, one ^ two), (beside, ~(one | two) & (apart > 0))):
                    total[0] += float(xp.where(known & wanted, apart, 0.0).sum())
                    total[1] += int((known & wanted).sum())
    if not across[1] or not beside[1]:
        return np.inf
    return (across[0] / across[1]) / (beside[0] / beside[1])


def _holds(dtype: np.dtype[np.generic], value: float) -> bool:
    """Whether a pixel of this type can have a value."""
    if dtype.kind == "f":
        return True
    return float(value).is_integer() and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max  # type: ignore[type-var]
