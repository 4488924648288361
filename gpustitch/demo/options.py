"""Options of the demo: which one to run, and its size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpustitch.array import Device
from gpustitch.demo import brain, sections
from gpustitch.model.options import documented, option
from gpustitch.running import options as shared

# Options without meaning for a section series.
ACQUISITION_ONLY = ("pixel_error", "stage_error_um")


@documented
@dataclass(frozen=True)
class DemoChoice:
    """A synthetic acquisition or series of sections, processed and measured against its truth."""

    folder: Path = option(
        Path("gpustitch-demo"),
        help="Folder for the raw data, the stitched volume, pictures and report.",
        is_argument=True,
        metavar="DIR",
    )
    section_series: bool = option(
        False, help="A series of sections at uneven positions, with faults: similarity, z-spacing and z-render."
    )
    size: Literal["small", "wide", "medium"] = option(
        "small",
        help="small: 4 tiles, about a minute; wide: 2 tiles of 512 x 1024 pixels, some minutes; medium: 6 tiles, some "
        "minutes. Of a series: small or medium, 400 or 1000 sections.",
    )
    seed: int = option(1, help="Seed of all random numbers.")
    pixel_error: float = option(
        0.01, help="Fraction by which the nominal camera pixel is too large; the run must find it."
    )
    stage_error_um: float = option(
        5.0,
        flag="--stage-error",
        unit="um",
        help="Greatest error of each tile's position along each axis, um; the run must find the errors.",
    )
    n_workers: int | None = shared.n_workers()
    overwrite: bool = shared.overwrite()
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()

    def of_acquisition(self) -> brain.DemoOptions:
        """The demo of an acquisition; ParameterError if an option is out of range."""
        spec = brain.spec_of(
            self.size, seed=self.seed, pixel_error=self.pixel_error, stage_error_um=self.stage_error_um
        )
        return brain.DemoOptions(
            self.folder, spec, self.n_workers, self.overwrite, self.device, self.device_memory_bytes
        )

    def of_series(self) -> sections.SectionDemoOptions:
        """The demo of a section series; ParameterError if an option is out of range."""
        series = sections.series_of(self.size, seed=self.seed)
        return sections.SectionDemoOptions(
            self.folder, series, self.n_workers, self.overwrite, self.device, self.device_memory_bytes
        )
