"""Small runs of all that writes records, for tests of what the records hold."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

import gpustitch as gs
from gpustitch.convert import stage as convert
from gpustitch.convert.options import ConvertOptions
from gpustitch.oblique.channels import stage as channels
from gpustitch.oblique.channels.options import ChannelsOptions
from gpustitch.oblique.deskew import stage as deskew
from gpustitch.oblique.destripe import stage as destripe
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.options import DestripeOptions
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.export import tiff
from gpustitch.oblique.flat import stage as flat
from gpustitch.oblique.flat.options import IlluminationOptions
from gpustitch.oblique.fuse.options import Intensity
from gpustitch.oblique.pipeline import stage as pipeline
from gpustitch.sections.grid import stage as grid
from gpustitch.sections.grid.stage import ZGridOptions
from gpustitch.sections.positions import stage as positions
from gpustitch.sections.positions.stage import ZSpacingOptions
from gpustitch.sections.render import stage as render
from gpustitch.sections.render.stage import RenderOptions
from gpustitch.sections.similarity import stage as similarity
from gpustitch.sections.similarity.options import SimilarityOptions
from gpustitch.show.facts import facts
from gpustitch.show.held import InfoOptions
from gpustitch.slices.verdict.report import verdict_dict
from gpustitch.slices.volume import stage as slices
from gpustitch.slices.volume.stage import ResampleOptions
from tests.oblique.pipeline.test_one_pass import ROW, written
from tests.oblique.pipeline.test_stage import options_of
from tests.slices.dicom.scenarios import scenario
from tests.verbs.libraries import texture


def go(stage: Any, options: Any) -> Any:
    """Run a stage."""
    return stage.run(stage.plan(options))


def oblique(folder: Path) -> None:
    """A channel of two tiles through the pipeline, and stage by stage."""
    channel = written(folder / "channel", ROW)
    raw = min(channel.rglob("*.dcimg"))
    options = options_of(channel, folder / "out")
    intensity = Intensity(is_estimated=True, n_patches=20, min_correlation=0.1)
    go(
        pipeline,
        dataclasses.replace(options, stitch=dataclasses.replace(options.stitch, intensity=intensity), report=True),
    )
    other = folder / "other"
    shutil.copytree(channel, other)
    plain = dataclasses.replace(options, correct_flat=False)
    go(channels, ChannelsOptions((channel, other), folder / "several", each=plain))
    go(deskew, deskew.DeobliqueOptions(raw, folder / "tile", levels=1))
    go(flat, IlluminationOptions((raw,), folder / "flat.tiff", n_frames=20, auto=True, allow_poor_flat=True))
    go(tiff, tiff.TifOptions(input=raw, output_pattern=str(folder / "frames" / "f%04d.tif"), stop=3))
    correction = Correction("wavelet", WaveletOptions(8, 16))
    go(destripe, DestripeOptions(input=folder / "frames", output=folder / "clean", correction=correction))


def sections(folder: Path) -> None:
    """A series of sections, compared, placed and rendered."""
    rng = np.random.default_rng(3)
    depths = np.sort(rng.uniform(0, 30, 30))
    waves = rng.normal(size=(6, 48, 64))
    stack = sum(np.cos(depths[:, None, None] / (2 + k) + 6 * wave) for k, wave in enumerate(waves))
    planes = np.asarray(1000 + 100 * stack, np.uint16)
    planes[7] = 5
    tifffile.imwrite(folder / "s.tif", planes)
    for name in ("similarity.npz", "similarity.tif"):
        go(similarity, SimilarityOptions(folder / "s.tif", folder / name, max_lag=6))
    go(positions, ZSpacingOptions(folder / "s.tif", folder / "z.csv", max_lag=6))
    go(grid, ZGridOptions(folder / "s.tif", folder / "grid.npz", max_lag=6, grid=(2, 2)))
    spacing = gs.Spacing(0.05, 0.01, 0.01)
    go(render, RenderOptions(folder / "s.tif", folder / "z.csv", folder / "rendered", spacing=spacing))


def series(folder: Path) -> None:
    """Series of slices, judged and made even."""
    for number in (3, 5):
        scenario(number, folder / f"CT{number}", shape=(12, 14))
        go(slices, ResampleOptions(folder / f"CT{number}", folder / f"v{number}.nii", stretches=number == 5))
    judged = [verdict_dict(stack) for number in (3, 5) for stack in gs.judge(folder / f"CT{number}")]
    (folder / "spacing.json").write_text(json.dumps(judged))


def placed(folder: Path) -> None:
    """A volume whose place its format cannot state, and the same in another format and type."""
    gs.write(folder / "placed", texture((5, 6, 7)), (1, 1, 1), origin_um=(0.7, 2, 3), levels=2)
    go(convert, ConvertOptions(folder / "placed", folder / "small.planes", dtype="uint8"))


def records(folder: Path) -> Iterator[tuple[str, Any]]:
    """Run all; yield the kind of each record, as docs/formats.md calls it, and what it holds."""
    for make in (oblique, sections, series, placed):
        make(folder)
    names = (
        "out",
        "several",
        "several/volume.zarr",
        "out/align.json",
        "channel",
        "tile",
        "s.tif",
        "flat.tiff.json",
        "placed",
        "nothing",
        "v5.nii",
    )
    yield "info.json", facts(InfoOptions(tuple(folder / name for name in names)))
    yield "info.json", facts(InfoOptions(()))
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".json" and path.name != "zarr.json":
            content = json.loads(path.read_text(encoding="utf-8"))
            yield kind_of(path), content
        elif path.suffix == ".jsonl":
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            yield "*.manifest.jsonl", lines[0]
            yield from (("*.manifest.jsonl, other lines", line) for line in lines[1:])
        elif path.suffix == ".csv":
            names = path.read_text(encoding="utf-8").splitlines()[0].split(",")
            yield kind_of(path), dict.fromkeys(names)
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                yield kind_of(path), dict.fromkeys(arrays)
                if "provenance" in arrays:
                    yield "similarity.tif.json", json.loads(str(arrays["provenance"]))


def kind_of(path: Path) -> str:
    """What docs/formats.md calls a file."""
    for end, kind in (
        (".planes.csv", "*.planes.csv"),
        ("flat.tiff.json", "flat.tiff.json"),
        (".nii.json", "gpustitch.json"),
    ):
        if path.name.endswith(end):
            return kind
    return path.name
