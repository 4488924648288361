"""What is asked of a comparison of planes, and the checked work."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gpustitch.array import Device
from gpustitch.errors import ParameterError
from gpustitch.io.planes.format import Planes
from gpustitch.io.planes.opening import plane_sources
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.model.options import documented, option
from gpustitch.running import options as shared
from gpustitch.running.inputs import Inputs

AutoNumber = Literal["auto", "off"] | float
# Options that planes settle if they are "auto".
SETTLED_BY_LOOK = ("register", "no_data", "high_pass")


@documented
@dataclass(frozen=True)
class SimilarityOptions:
    """What planes to compare, and how; ``planes`` stand in for those at ``input``, ``output`` None writes no file.

    The inverse of each ``scale`` is a whole number, to 2 %. Pixels are those of planes as they are compared.
    """

    input: Path = option(
        is_argument=True,
        metavar="IN",
        help=f"Stack: {plane_sources()}.",
    )
    output: Path | None = option(
        None,
        is_argument=True,
        is_needed=True,
        metavar="OUT",
        help="File to write: .npz (half strip) or .tif (the matrix, for Fiji).",
    )
    max_lag: int | None = option(
        None,
        flag="--range",
        help="Neighborhood range: greatest distance of two compared planes, in planes.",
        shown="10, or less",
    )
    scale: tuple[float, float] = option(
        (1.0, 1.0),
        text="scale",
        help="Make planes smaller before they are compared, by averaging pixels: 1, 0.5, 0.3333, 0.25 ... (one over "
        "a whole number), or two such numbers x,y.",
    )
    mask: Path | None = option(
        None, help="Image of the planes' size, 0 where pixels are not compared.", shown="all pixels are"
    )
    register: AutoNumber = option(
        "auto",
        text="auto or number",
        metavar="auto|off|PX",
        at_least=1,
        help="Greatest distance of planes across the plane, in pixels, that is made good before they are compared. "
        "auto looks at some pairs.",
    )
    no_data: AutoNumber = option(
        "auto",
        text="auto or number",
        metavar="auto|off|VALUE",
        help="Value of pixels that are not compared. auto finds areas of one value that touch the edge, in each plane.",
    )
    high_pass: AutoNumber = option(
        "auto",
        text="auto or number",
        metavar="auto|off|PX",
        at_least=1,
        help="Gaussian, in pixels, whose mean is taken from planes before they are compared. "
        "auto looks for uneven light, and for stripes through all of a plane (curtains), which it takes away.",
    )
    chunk: int | None = option(None, help="Planes read at a time.", shown="what suits them")
    memory_bytes: int = shared.memory(1 << 30)
    n_workers: int | None = shared.n_workers()
    allow_missing: bool = shared.allow_missing()
    choice: StackChoice = shared.stack_choice()
    overwrite: bool = shared.overwrite()
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()
    planes: Planes | None = None

    @property
    def may_leave_out(self) -> bool:
        """Whether planes may become float32, and pixels be left out of some of them."""
        return any(getattr(self, name) != "off" for name in SETTLED_BY_LOOK)

    @property
    def of_images(self) -> list[str]:
        """Options given that say how images are compared, for people."""
        given = {"mask": self.mask is not None, "scale": self.scale != (1.0, 1.0)}
        given |= {name: getattr(self, name) != "auto" for name in SETTLED_BY_LOOK}
        return [f"`{name}`" for name, is_given in given.items() if is_given]

    def __post_init__(self) -> None:
        for name in SETTLED_BY_LOOK:
            value = getattr(self, name)
            if isinstance(value, str) and value not in ("auto", "off"):
                raise ParameterError(f"`{name}` is {value!r}, but it must be auto, off or a number")
        for name in ("register", "high_pass"):
            value = getattr(self, name)
            if not isinstance(value, str) and not math.isfinite(value):
                raise ParameterError(f"`{name}` is {value}, but it must be a finite number of pixels")


@dataclass(frozen=True)
class SimilarityPlan:
    """Checked work: planes read ``chunk`` at a time, ``block`` of them correlated at once.

    ``shape`` is that of the planes as they are compared, ``factors`` the blocks of pixels that are averaged to it.
    ``chunks_held`` is the number of chunks in memory at a time, ``peak_bytes`` the most host memory that is held.
    ``n_looking`` threads look at pairs of planes before the comparison, where that decides how it is done.
    """

    options: SimilarityOptions
    device: Device
    planes: Planes
    mask: npt.NDArray[np.uint8] | None
    max_lag: int
    factors: tuple[int, int]
    shape: tuple[int, int]
    chunk: int
    block: int
    chunks_held: int
    n_workers: int
    peak_bytes: int
    n_looking: int
    inputs: Inputs = Inputs()

    @property
    def summary(self) -> str:
        """What the comparison takes, in one line."""
        return f"at most {self.peak_bytes / 2**20:.0f} MiB of planes are held at a time"


def comparison(options: SimilarityOptions, **changed: Any) -> SimilarityOptions:
    """The options of the comparison alone, without an output, from those of a stage that goes on from there."""
    own = {field.name: getattr(options, field.name) for field in fields(SimilarityOptions)}
    return SimilarityOptions(**{**own, "output": None, **changed})
