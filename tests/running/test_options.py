"""Options as records state them: with what is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpustitch.array import CPU, Device
from gpustitch.io.provenance import plain
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.running.options import settled


@pytest.mark.parametrize(("device", "name"), [(CPU, "cpu"), (Device(1, "as asked", 5), "cuda:1")])
def test_records_name_what_is_used(device: Device, name: str) -> None:
    used = settled(PipelineOptions(Path("in"), Path("out")), device, 3)
    assert used.device is device
    record = plain(used)
    for options in (record, record["stitch"]):
        assert (options["device"], options["n_workers"]) == (name, 3)
    assert settled(used, device, 3) == used
