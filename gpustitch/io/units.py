"""Units of length, as image files name them."""

from __future__ import annotations

import math

from gpustitch.model import Spacing

# UDUNITS-2 names (OME-Zarr), symbols (OME-XML) and what ImageJ's users type.
_UM = {
    1e-6: ("picometer", "pm"),
    1e-4: ("angstrom", "Å", "Å"),
    1e-3: ("nanometer", "nm"),
    1.0: ("micrometer", "micron", "um", "μm", "µm"),
    1e3: ("millimeter", "mm"),
    1e4: ("centimeter", "cm"),
    1e6: ("meter", "m"),
    25400.0: ("inch", "in"),
}
_UM_OF = {name: um for um, names in _UM.items() for name in names}


def um_per(unit: object) -> float | None:
    """How many um one ``unit`` is; None if it is no name of a length (``pixel``, say)."""
    if not isinstance(unit, str):
        return None
    name = unit.strip().replace("\\u00B5", "µ").replace("metre", "meter")
    if name in _UM_OF:
        return _UM_OF[name]
    name = name.lower()
    return _UM_OF.get(name, _UM_OF.get(name.removesuffix("s")))


def spacing_of(z_um: float | None, y_um: float | None, x_um: float | None) -> Spacing | None:
    """The spacing if all three distances are known, positive and finite; None otherwise."""
    known = [v for v in (z_um, y_um, x_um) if v is not None and math.isfinite(v) and v > 0]
    return Spacing(*known) if len(known) == 3 else None
