"""The device of a command: named once, refused where it is not there, stated in a line."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
import tifffile

from gpustitch.cli.main import COMMANDS
from tests.e2e.commands import fail, succeed


@pytest.fixture
def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, np.full((40, 50), 300, np.uint16))
    return path


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_takes_a_device(command):
    text = re.sub(r"\x1b\[[0-9;]*m", "", succeed(command, "--help"))
    assert "--device" in text


def test_the_device_taken_is_stated_in_one_line(image, tmp_path, no_cupy):
    told = succeed("destripe", "-i", image, "-o", tmp_path / "out.tif", "--dark", 100)
    assert len(re.findall(r"^device cpu: CuPy is not installed", told, re.MULTILINE)) == 1
    quiet = succeed("destripe", "-i", image, "-o", tmp_path / "quiet.tif", "--dark", 100, "--quiet")
    assert "device" not in quiet


def test_a_device_that_is_not_there_ends_the_command_before_it_writes(image, tmp_path, no_cupy):
    out = tmp_path / "out.tif"
    said = fail(9, "destripe", "-i", image, "-o", out, "--dark", 100, "--device", "cuda")
    assert "--device cuda cannot be used: CuPy is not installed" in said
    fail(3, "destripe", "-i", image, "-o", out, "--dark", 100, "--device", "gpu")
    fail(3, "destripe", "-i", image, "-o", out, "--dark", 100, "--device-memory", "lots")
    fail(9, "info", "--device", "cuda:1")
    assert not out.exists()


def test_info_says_which_device_is_taken_and_why(no_cupy):
    told = succeed("info")
    assert "no CUDA device: CuPy is not installed" in told
    assert "commands take device cpu: CuPy is not installed" in told
    assert "commands take device cpu: as asked" in succeed("info", "--device", "cpu")
