"""The truth about a phantom: how it was made, and where everything in it truly is."""

from __future__ import annotations

import dataclasses
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.demo.phantom.camera import Illumination, Sensor, Stripes
from gpustitch.demo.phantom.scene import make_scene
from gpustitch.demo.phantom.specimen import Lattice, Scene
from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.checked import check_schema, read_json, table
from gpustitch.model import ObliqueScan, UmXYZ, column_step_um

CHANNELS = ("Ex_488_Em_525", "Ex_642_Em_680")
FLAT_NAME = "flat.tiff"
TRUTH_NAME = "truth.json"
SCHEMA = 1
_CELL_COLUMNS = ("x_um", "y_um", "z_um", "sigma_um", "peak_counts")


@dataclass(frozen=True)
class PhantomSpec:
    """Parameters of a phantom.

    Parameters
    ----------
    grid
        Number of tiles along x, y and z.
    n_frames, n_rows, n_columns
        Shape of each tile's frame stack, in upright orientation.
    overlap
        Fraction of a tile's extent that the tile shares with the next one.
    pixel_um
        Nominal camera pixel, um, as a user would state it.
    pixel_error
        Fraction by which the nominal pixel is too large: the true pixel is ``pixel_um / (1 + pixel_error)``.
    step_um, angle_deg
        Stage step between frames and sheet angle, both exact.
    stage_error_um
        Bound on the uniform difference between a tile's true position and the stage's, on each axis.
    stripe_strength
        Standard deviation of the stripes' gain; 0 for none.
    noise
        Whether the camera has shot and read noise.
    n_channels
        1 or 2.
    chunglab
        Whether frames are written so that ``rotate_90=3`` with ``flip_ud`` makes them upright.
    negative_y
        Whether the stage's y decreases as rows increase.
    seed
        Seed of all random numbers.
    """

    grid: tuple[int, int, int] = (2, 2, 1)
    n_frames: int = 176
    n_rows: int = 208
    n_columns: int = 384
    overlap: float = 0.25
    pixel_um: float = 1.8
    pixel_error: float = 0.0
    step_um: float = 1.28
    angle_deg: float = 45.0
    stage_error_um: float = 0.0
    stripe_strength: float = 0.07
    noise: bool = True
    n_channels: int = 1
    chunglab: bool = False
    negative_y: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        if min(self.grid) < 1:
            raise ParameterError(f"a phantom needs at least one tile along each axis, not {self.grid}")
        if not 0 <= self.overlap < 1:
            raise ParameterError(f"the overlap is a fraction of a tile, from 0 to less than 1, not {self.overlap}")
        if not self.pixel_error > -1:
            raise ParameterError(f"the pixel error must be more than -1, not {self.pixel_error}")
        if self.stage_error_um < 0 or self.stripe_strength < 0:
            raise ParameterError("stage error and stripe strength must not be negative")
        if not 1 <= self.n_channels <= len(CHANNELS):
            raise ParameterError(f"a phantom has 1 or 2 channels, not {self.n_channels}")
        self.scan  # noqa: B018

    @property
    def true_pixel_um(self) -> float:
        """The true camera pixel of the phantom."""
        return self.pixel_um / (1 + self.pixel_error)

    @functools.cached_property
    def scan(self) -> ObliqueScan:
        """The true geometry of each tile."""
        return ObliqueScan(self.n_frames, self.n_rows, self.n_columns, self.true_pixel_um, self.step_um, self.angle_deg)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channel folders."""
        return CHANNELS[: self.n_channels]

    @property
    def sensor(self) -> Sensor:
        """The camera."""
        return Sensor()

    def flat(self) -> npt.NDArray[np.float32]:
        """The true gain of each pixel (rows, columns), maximum 1."""
        return Illumination().flat(self.n_rows, self.n_columns)


@dataclass(frozen=True)
class TileTruth:
    """One tile: its file inside a channel's folder, the stage's position, its true position, and its stripes."""

    path: str
    stage_um: UmXYZ
    true_um: UmXYZ
    stripes: Stripes

    @property
    def name(self) -> str:
        """The tile's name in messages and reports, like `gpustitch.model.TilePath.name`."""
        return "_".join(f"{round(v * 10)}" for v in self.stage_um)


@dataclass(frozen=True)
class Truth:
    """The whole truth about a phantom; ``folder`` holds the channels, the truth and the true flat."""

    folder: Path
    spec: PhantomSpec
    tiles: tuple[TileTruth, ...]

    def channel(self, number: int = 0) -> Path:
        """Folder of a channel."""
        return self.folder / self.spec.channels[number]

    def scene(self, channel: int = 0) -> Scene:
        """The specimen in this channel."""
        return scene_of(self.spec, self.tiles, channel)

    def nominal_um(self, tile: TileTruth) -> UmXYZ:
        """True position of a tile if the stage were exact."""
        return nominal_um(self.spec, tile.stage_um)

    def lattice(self, tile: TileTruth) -> Lattice:
        """True places of the pixels of a tile's upright frames."""
        return Lattice.of_frames(self.spec.scan, tile.true_um)

    def save(self) -> None:
        """Write the truth as JSON into the folder."""
        record = {
            "schema": SCHEMA,
            "spec": dataclasses.asdict(self.spec),
            "true_pixel_um": self.spec.true_pixel_um,
            "nominal_pixel_um": self.spec.pixel_um,
            "sensor": dataclasses.asdict(self.spec.sensor),
            "illumination": dataclasses.asdict(Illumination()),
            "flat": FLAT_NAME,
            "tiles": [_tile_record(tile) for tile in self.tiles],
            "cells": {
                name: {
                    "columns": _CELL_COLUMNS,
                    "rows": _cell_rows(self.scene(i)),
                }
                for i, name in enumerate(self.spec.channels)
            },
        }
        (self.folder / TRUTH_NAME).write_text(json.dumps(record) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Truth:
        """Read a phantom's truth back.

        Raises
        ------
        InputMissingError
            If the folder holds no truth.
        DamagedInputError
            If another version wrote the truth, or the file is damaged.
        """
        path = folder / TRUTH_NAME
        if not path.is_file():
            raise InputMissingError(f"{path} is missing: {folder} is not a phantom; make one with 'gpustitch demo'")
        try:
            record = table(read_json(path), "it")
            check_schema(record, SCHEMA)
            spec = PhantomSpec(**{**record["spec"], "grid": tuple(record["spec"]["grid"])})
            tiles = tuple(
                TileTruth(
                    tile["path"],
                    _triple(tile["stage_um"]),
                    _triple(tile["true_um"]),
                    Stripes(**{key: np.asarray(value, np.float64) for key, value in tile["stripes"].items()}),
                )
                for tile in record["tiles"]
            )
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise DamagedInputError(f"{path} is not the truth of a phantom made by this version: {error}") from error
        return cls(folder, spec, tiles)


def scene_of(spec: PhantomSpec, tiles: tuple[TileTruth, ...], channel: int) -> Scene:
    """The specimen that fills the tiles of a phantom."""
    scan = spec.scan
    x_um, z_um = column_step_um(scan.pixel_um, scan.angle_deg)
    slant = x_um / z_um
    # The specimen must not depend on the stage's errors, so it fills the tiles at their nominal positions.
    places = np.array([nominal_um(spec, tile.stage_um) for tile in tiles])
    places[:, 0] -= slant * places[:, 2]
    size = ((scan.n_frames - 1) * scan.step_um, (scan.n_rows - 1) * scan.pixel_um, _depth_um(scan))
    low, high = places.min(axis=0), places.max(axis=0) + size
    return make_scene(_triple(low), _triple(high), slant, spec.seed, channel)


def nominal_um(spec: PhantomSpec, stage_um: UmXYZ) -> UmXYZ:
    """Position of a tile if the stage were exact, with the first tile at 0."""
    x, y, z = (a - b for a, b in zip(stage_um, STAGE_START_UM, strict=True))
    return x, (-y if spec.negative_y else y), z


STAGE_START_UM: UmXYZ = (1250.0, 3400.0, 0.0)


def _depth_um(scan: ObliqueScan) -> float:
    return (scan.n_columns - 1) * scan.spacing.z_um


def _tile_record(tile: TileTruth) -> dict[str, Any]:
    stripes = {key: np.round(value, 6).tolist() for key, value in dataclasses.asdict(tile.stripes).items()}
    return {"path": tile.path, "stage_um": tile.stage_um, "true_um": tile.true_um, "stripes": stripes}


def _cell_rows(scene: Scene) -> list[list[float]]:
    cells = scene.cells
    rows: list[list[float]] = np.round(np.column_stack([cells.centre_um, cells.sigma_um, cells.peak]), 3).tolist()
    return rows


def _triple(values: Any) -> UmXYZ:
    x, y, z = (float(v) for v in values)
    return x, y, z
