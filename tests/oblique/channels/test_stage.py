"""Several channels in one run: placed alike, compared, joined; what is finished stays finished."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from scipy.ndimage import shift

import gpustitch as gs
from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec, Truth
from gpustitch.errors import MosaicError, OutputError, OutputExistsError, ParameterError
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.images.files import read_image
from gpustitch.oblique.channels import stage
from gpustitch.oblique.channels.file import SCHEMA
from gpustitch.oblique.channels.options import ChannelsOptions
from gpustitch.oblique.channels.stage import plan, run
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.pipeline import one_pass
from gpustitch.oblique.pipeline.options import PipelineOptions
from tests.e2e.commands import fail, succeed
from tests.e2e.commands import run as run_command

pytestmark = pytest.mark.xdist_group("channels")
SPEC = PhantomSpec(n_frames=64, n_rows=96, n_columns=52, overlap=0.42, stage_error_um=2.0, grid=(1, 2, 1))
OTHER = "Ex_561_Em_600"
OFF_PX = (2.0, 3.0)  # rows, columns
EACH = PipelineOptions(
    Path("CHANNEL"), preset="plain", correction=Correction("none"), correct_flat=True, report=False,
    stitch=StitchOptions(Path("volume"), levels=2),
)  # fmt: skip


def write_other(truth: Truth) -> Path:
    """A channel that sees the same, off by some pixels of the camera, under the same light."""
    light = read_image(truth.folder / "flat.tiff")
    light = light / light.max()
    rng = np.random.default_rng(5)
    for file in sorted(truth.channel().glob("*/*/*.dcimg")):
        frames = np.asarray(gs.open_frames(file), np.float32)
        moved = shift((frames - 100) / light, (0, *OFF_PX), order=1, mode="nearest")
        seen = np.clip(100 + 0.6 * moved * light + rng.normal(0, 8, frames.shape), 0, 65535).astype(np.uint16)
        place = truth.folder / OTHER / file.relative_to(truth.channel())
        place.parent.mkdir(parents=True)
        write_dcimg(place, list(seen), len(seen), seen.shape[1:])
    return truth.folder / OTHER


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Path, ...]:
    truth = make_phantom(tmp_path_factory.mktemp("channels"), SPEC)
    return truth.channel(), write_other(truth)


@pytest.fixture(scope="module")
def made(both, tmp_path_factory):
    options = ChannelsOptions(both, tmp_path_factory.mktemp("made") / "out", each=EACH)
    return run(plan(options)), options


def test_the_image_has_a_channel_for_each(made, both):
    result, options = made
    group = zarr.open_group(str(result.joined), mode="r")
    for number, channel in enumerate(both):
        alone = np.asarray(gs.open_volume(options.folder / channel.name / "volume"))
        np.testing.assert_array_equal(group["0"][number], alone)
        assert not (options.folder / channel.name / "volume.zarr").exists()
    labels = [channel["label"] for channel in group.attrs["ome"]["omero"]["channels"]]
    assert labels == [channel.name for channel in both]


def test_channels_are_placed_alike_and_the_shift_between_them_is_known(made, both):
    result, options = made
    first, second = (json.loads((options.folder / c.name / "align.json").read_text()) for c in both)
    assert first["alignments"] == second["alignments"] and first["voxel_size"] == second["voxel_size"]
    rows, columns = OFF_PX
    along = columns * EACH.y_voxel_um * math.sqrt(0.5)
    expected = -np.array([along, rows * EACH.y_voxel_um, along])
    others = set(result.shifts)
    assert others == {c.name for c in both} - {result.aligned}
    sign = 1 if result.aligned == both[0].name else -1
    found = result.shifts[others.pop()]
    assert found.is_shifted and not found.is_uneven
    um = np.multiply(found.offset_px, result.spacing.zyx_um)
    np.testing.assert_allclose(um, sign * expected, atol=0.3)
    record = json.loads((options.folder / "channels.json").read_text())
    assert record["is_finished"] and record["schema"] == SCHEMA and record["aligned"] == result.aligned
    assert set(record["linked"]) == {c.name for c in both}


def test_each_channel_is_reported(made, both):
    folder = made[1].folder
    result = run_command("report", folder)
    assert result.exit_code in (0, 21), result.output
    for channel in both:
        assert f"{folder / channel.name / 'report.html'}: " in result.output
        assert (folder / channel.name / "report.html").is_file()


def test_a_finished_output_is_not_replaced_unasked(made):
    with pytest.raises(OutputExistsError):
        plan(made[1])


def test_a_run_that_ended_goes_on_with_the_channel_it_was_at(both, made, tmp_path, monkeypatch):
    each = replace(EACH, correct_flat=False)
    options = ChannelsOptions(both, tmp_path / "out", align_on=both[1].name, each=each)
    done = []

    def stitch(job, progress):
        if done:
            raise OutputError("the disk is full")
        done.append(job.options.channel.name)
        return pipeline_run(job, progress)

    pipeline_run = stage.pipeline.run
    monkeypatch.setattr(stage.pipeline, "run", stitch)
    with pytest.raises(OutputError, match="full"):
        run(plan(options))
    assert done == [both[1].name]
    assert not (options.folder / "volume.zarr").exists()
    before = (options.folder / both[1].name / "provenance.json").stat().st_mtime_ns
    # Other options are another run.
    with pytest.raises(OutputExistsError):
        plan(replace(options, each=replace(each, correction=Correction("none", dark=3))))
    monkeypatch.setattr(stage.pipeline, "run", pipeline_run)
    again = plan(options)
    assert again.finished == {both[1].name} and set(again.plans) == {both[0].name}
    result = run(again)
    assert result.aligned == both[1].name
    assert (options.folder / both[1].name / "provenance.json").stat().st_mtime_ns == before
    assert zarr.open_group(str(result.joined), mode="r")["0"].shape[0] == 2
    assert result.shifts[both[0].name].is_shifted


def test_a_run_that_ended_within_a_later_channel_goes_on_there(both, tmp_path, monkeypatch):
    options = ChannelsOptions(both, tmp_path / "out", align_on=both[0].name, each=EACH)
    fuse, calls = one_pass.stream.run, []

    def ends(*arguments, **more):
        calls.append(1)
        if len(calls) == 2:
            raise OutputError("the disk is full")
        return fuse(*arguments, **more)

    monkeypatch.setattr(one_pass.stream, "run", ends)
    with pytest.raises(OutputError, match="full"):
        run(plan(options))
    assert (options.folder / f"{both[1].name}.work").is_dir(), "it was begun"
    again = plan(options)
    assert again.finished == {both[0].name}
    result = run(again)
    assert zarr.open_group(str(result.joined), mode="r")["0"].shape[0] == 2
    assert not (options.folder / f"{both[1].name}.work").exists()


def test_channels_that_do_not_belong_together_are_refused(both, tmp_path):
    small = make_phantom(tmp_path / "small", replace(SPEC, n_frames=40))
    for channels, error, says in (
        ((both[0], both[0]), ParameterError, "names of their own"),
        ((both[0], small.folder / "Ex_488_Em_525" / ".." / "Ex_488_Em_525"), ParameterError, "names of their own"),
    ):
        with pytest.raises(error, match=says):
            plan(ChannelsOptions(channels, tmp_path / "out", each=EACH))
    renamed = small.channel().rename(tmp_path / "Other")
    with pytest.raises(MosaicError):
        plan(ChannelsOptions((both[0], renamed), tmp_path / "out", each=EACH))
    with pytest.raises(ParameterError, match="`align_on`"):
        plan(ChannelsOptions(both, tmp_path / "out", align_on="none", each=EACH))
    with pytest.raises(ParameterError, match="`output`"):
        plan(ChannelsOptions(both, each=EACH))
    with pytest.raises(ParameterError, match="ends in"):
        plan(ChannelsOptions(both, tmp_path / "v.zarr", each=EACH))
    with pytest.raises(ParameterError, match="the only channel"):
        ChannelsOptions(both[:1], align_on=both[1].name).single  # noqa: B018
    assert not (tmp_path / "out").exists()


def test_the_disk_must_hold_all_channels(both, tmp_path, monkeypatch):
    options = ChannelsOptions(both, tmp_path / "out", each=EACH)
    one = stage.pipeline.plan(options.of(both[0].name, None)).foreseen.disk_bytes
    monkeypatch.setattr("gpustitch.io.atomic.shutil.disk_usage", lambda _: SimpleNamespace(free=one * 3 // 2))
    with pytest.raises(OutputError, match="free some space"):
        plan(options)
    plan(replace(options, each=replace(EACH, dry_run=True)))


def test_a_file_of_options_has_a_table_for_a_channel(both, tmp_path):
    config = tmp_path / "run.toml"
    for_all = "levels = 2\npreset = 'plain'\nflat = false\nreport = false\ndestripe-method = 'none'\n"
    config.write_text(f"{for_all}[{OTHER}]\ndark = 7\n")
    succeed("pipeline", *both, "--output", tmp_path / "out", "--config", config, "--align-on", both[0].name)
    dark = [
        json.loads((tmp_path / "out" / c.name / "provenance.json").read_text())["parameters"]["correction"]["dark"]
        for c in both
    ]
    assert dark == [0, 7]
    kept = tomllib.loads((tmp_path / "out" / "pipeline.toml").read_text())
    assert kept[OTHER] == {"dark": 7.0} and kept["levels"] == 2 and kept["align-on"] == both[0].name
    assert "2 channels" in succeed("info", tmp_path / "out") or "volume.zarr" in succeed("info", tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[Ex_0]\ndark = 7\n", "may be named Ex_488_Em_525, Ex_561_Em_600"),
        (f"[{OTHER}]\ndrak = 7\n", "did you mean dark"),
        (f"[{OTHER}]\nalign-on = 'x'\n", "holds for all channels"),
        (f"[{OTHER}]\nchannels = ['x']\n", "cannot state"),
    ],
)
def test_what_a_table_of_a_channel_has_wrong_is_named(both, tmp_path, text, says):
    (tmp_path / "run.toml").write_text(text)
    said = fail(3, "pipeline", *both, "--output", tmp_path / "out", "--config", tmp_path / "run.toml")
    assert says in " ".join(said.split())
    assert not (tmp_path / "out").exists()
