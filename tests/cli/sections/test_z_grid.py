"""The command: from a stack to positions that z-render takes, and its refusals."""

from __future__ import annotations

import numpy as np
import tifffile

from gpustitch.sections.grid.file import read_z_grids
from tests.e2e.commands import fail, succeed
from tests.regrid.deformed_sections import deformed_sections


def test_a_stack_becomes_local_positions_and_these_a_volume(tmp_path):
    stack, out = tmp_path / "stack.tif", tmp_path / "z.npz"
    made = deformed_sections(n=40, size=64, amplitude=1)
    tifffile.imwrite(stack, made.planes, photometric="minisblack")
    said = succeed("z-spacing-grid", stack, out, "--grid", "3,2", "--window", "48", "--range", 6, "--device", "cpu")
    for line in ("MiB are held", "Similarity: 40 planes", "40 sections at 3 x 2 points"):
        assert line in said
    written = read_z_grids(out)
    assert written.positions.shape == written.uncertainty.shape == (40, 2, 3)
    assert (written.uncertainty > 0).any()
    succeed("z-render", stack, out, tmp_path / "volume.tif", "--voxel-size", "1,1,1", "--quiet")
    assert tifffile.imread(tmp_path / "volume.tif").shape[1:] == (64, 64)


def test_what_cannot_be_placed_on_a_grid_is_refused(tmp_path):
    np.save(tmp_path / "stack.npy", deformed_sections(n=12, size=32, amplitude=0).planes)
    arguments = ("z-spacing-grid", tmp_path / "stack.npy", tmp_path / "z.npz")
    assert "--grid takes" in fail(3, *arguments, "--grid", "a,b")
    assert "at least 1" in fail(3, *arguments, "--window", "0")
    assert "does not fit" in fail(3, *arguments, "--grid", "40")
    assert fail(2, *arguments, "--regularization", "some")
    assert "--local-estimates" in fail(3, *arguments, "--local-estimates", "0")
    assert not (tmp_path / "z.npz").exists()


def test_what_keeps_the_whole_series_in_place_may_be_chosen(tmp_path):
    np.save(tmp_path / "stack.npy", deformed_sections(n=24, size=32, amplitude=0).planes)
    arguments = ("z-spacing-grid", tmp_path / "stack.npy")
    options = ("--grid", "1", "--range", 5, "--device", "cpu", "--quiet")
    succeed(*arguments, tmp_path / "border.npz", *options)
    succeed(*arguments, tmp_path / "identity.npz", *options, "--regularization", "identity", "--local-estimates", "2")
    border, identity = (read_z_grids(tmp_path / name).positions[:, 0, 0] for name in ("border.npz", "identity.npz"))
    np.testing.assert_allclose(border[[0, -1]], [0, 23], atol=1e-9)
    np.testing.assert_allclose(np.polyfit(identity, np.arange(24), 1), [1, 0], atol=1e-9)


def test_what_given_positions_make_idle_is_told(tmp_path):
    np.save(tmp_path / "stack.npy", deformed_sections(n=24, size=32, amplitude=0).planes)
    (tmp_path / "z.csv").write_text("z-index,mapping\n" + "".join(f"{i},{i}\n" for i in range(24)))
    given = ("--positions", tmp_path / "z.csv", "--grid", "1", "--range", 5, "--quiet")
    told = "with --positions nothing is changed by --regularization"
    assert told not in succeed("z-spacing-grid", tmp_path / "stack.npy", tmp_path / "a.npz", *given)
    options = (*given, "--regularization", "identity")
    assert told in succeed("z-spacing-grid", tmp_path / "stack.npy", tmp_path / "b.npz", *options)
