"""Random OME-TIFF files whose planes state where they are, and what is true of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

UNITS = {"nm": 1e-6, "µm": 1e-3, "mm": 1.0}


@dataclass(frozen=True)
class Stated:
    """Where planes are (mm, in the order of pages), their true distance and PhysicalSizeZ (None: not stated)."""

    at_mm: np.ndarray
    spacing_mm: float
    size_mm: float | None
    lost: int


def drawn(seed: int, *, size: str = "any", n_lost: int = 0) -> Stated:
    """Planes that go up or down, with steps lost in one place; ``size`` is right, wrong, none or any of these."""
    rng = np.random.default_rng(seed)
    spacing = round(float(10 ** rng.uniform(-4, -2.4)), 6)
    steps = np.arange(int(rng.integers(11, 24)))
    steps = steps + n_lost * (steps >= int(rng.integers(5, len(steps) - 5)))
    at = round(float(rng.uniform(-9, 9)), 4) + rng.choice([-1, 1]) * spacing * steps
    size = str(rng.choice(["right", "wrong", "none"])) if size == "any" else size
    factor = rng.choice([0.1, 0.5, 1.5, 2, 4, 10])
    return Stated(at, spacing, {"right": spacing, "wrong": float(spacing * factor), "none": None}[size], n_lost)


def write_ome(
    path: Path,
    at_mm: np.ndarray,
    size_mm: float | None,
    *,
    unit: str | None = "µm",
    channels: int = 1,
    decimals: int = 9,
) -> np.ndarray:
    """Write a stack with PositionZ in a unit for each plane of each channel; return the voxels (z, y, x) of the first.

    Without a unit positions are in the reference frame of nobody knows what.
    """
    n = len(at_mm)
    voxels = np.arange(n * channels * 6 * 5, dtype=np.uint16).reshape(n, channels, 6, 5)
    mm = UNITS[unit or "µm"]
    data: dict[str, object] = {
        "axes": "ZCYX", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.25,
        "PhysicalSizeYUnit": "µm",
    }  # fmt: skip
    places = [round(float(z) / mm, decimals) for z in at_mm for _ in range(channels)]
    data["Plane"] = {"PositionZ": places} | ({"PositionZUnit": [unit] * n * channels} if unit else {})
    if size_mm is not None:
        data |= {"PhysicalSizeZ": size_mm * 1e3, "PhysicalSizeZUnit": "µm"}
    tifffile.imwrite(path, voxels, metadata=data, photometric="minisblack")
    return voxels[:, 0]


def write_ome_set(folder: Path, at_mm: np.ndarray, size_mm: float, *, without: int | None = None) -> None:
    """Write a plane to a file; each file describes all, with their positions in um. ``without`` leaves one out."""
    n = len(at_mm)
    data = "".join(
        f'<TiffData FirstZ="{k}" IFD="0" PlaneCount="1"><UUID FileName="p{k:02}.ome.tif">urn:uuid:{k}</UUID></TiffData>'
        for k in range(n)
    )
    data += "".join(
        f'<Plane TheZ="{k}" TheC="0" TheT="0" PositionZ="{z * 1e3:.6f}" PositionZUnit="µm"/>'
        for k, z in enumerate(at_mm)
    )
    sizes = f'SizeX="5" SizeY="6" SizeZ="{n}" SizeC="1" SizeT="1" PhysicalSizeZ="{size_mm * 1e3}"'
    for k in set(range(n)) - {without}:
        pixels = f'<Pixels DimensionOrder="XYZCT" Type="uint16" {sizes} PhysicalSizeX="0.25" PhysicalSizeY="0.25">'
        xml = f'<OME xmlns="x" UUID="urn:uuid:{k}"><Image>{pixels}{data}</Pixels></Image></OME>'
        text = f'<?xml version="1.0" encoding="UTF-8"?>{xml}'.encode()
        plane = np.full((6, 5), k, np.uint16)
        tifffile.imwrite(folder / f"p{k:02}.ome.tif", plane, description=text, metadata=None, photometric="minisblack")
