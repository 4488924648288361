"""Which part of a pass bounds it on a device, by arithmetic: counted demands over stated rates; nothing is measured.

Demands for a frame of 2048 x 2048 pixels are those of ``bench device_counts``. Rates are assumptions: of the link and
of the device's memory by the specifications of an H100 SXM on PCIe 5.0, of calls and of host work by this project's
notes. Parts are done at the same time by different threads, so the slowest one bounds the pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.common import RESULTS, report

MIB, PIXELS = 1 << 20, 2048**2
DISKS = (3e9, 7e9, 14e9)


@dataclass(frozen=True)
class Rates:
    """Assumed rates of a machine; bytes and seconds.

    ``link`` is one direction of PCIe 5.0 x16, ``memory`` that of an H100 SXM. ``launch`` and ``wait`` are what Python
    and the driver take for a call, one after another. ``copy`` is a copy within the host's memory by one thread.
    Writing the files of a pixel takes ``write`` seconds of one of so many ``cores``.
    """

    link: float = 63e9
    memory: float = 3.35e12
    launch: float = 10e-6
    wait: float = 20e-6
    copy: float = 10e9
    write: float = 4e-9
    cores: int = 16


# Bytes of the device's memory for a pixel, added up from what each body reads and writes.
DEVICE_BYTES = {"none": 21.0, "wavelet": 30.0, "pystripe": 53.0, "lightsheet": 37.0}
# More of them before: light was written, the ends of its range were put back (pystripe), and counts were made of it.
LIGHT_BYTES: dict[str, dict[str, float]] = {"before": {"wavelet": 8.0, "pystripe": 18.0}, "now": {}}
# Where instructions bound bodies and not bytes: seconds for a frame, calculated.
DEVICE_S = {"before": {"lightsheet": 4e-4}, "now": {"lightsheet": 1e-4}}
CALLS = ("uploads", "downloads", "launches of bodies", "launches of CuPy's own")
WAITS = ("waits inside", "waits at ends", "waits for buffers", "waits for voxels")


def parts_s(
    row: Mapping[str, Any], disk: float, rates: Rates = Rates(), device_s: float = 0.0, more_bytes: float = 0.0
) -> dict[str, float]:
    """Seconds of each part for a frame, given its row of counts and the disk's bytes per second, read and written.

    Instructions on the device take ``device_s``. ``more_bytes`` of its memory are moved for a pixel than now.
    """
    up, down = row["MiB up"] * MIB, row["MiB down"] * MIB
    method = str(row["method"])
    read, written = 2.0 * PIXELS, 2.0 * PIXELS * 8 / 7  # uint16, and a volume of as many voxels with its levels
    return {
        "disk": (read + written) / disk,
        "link": max(up, down) / rates.link,
        "device": max((DEVICE_BYTES[method] + more_bytes) * PIXELS / rates.memory, device_s),
        "calls": sum(row[kind] for kind in CALLS) * rates.launch + sum(row.get(kind, 0) for kind in WAITS) * rates.wait,
        "staging": row["MiB staged"] * MIB / rates.copy,  # by the thread that asks
        # What goes up is read into one memory, and copied to where the device fetches it; frames of DCIMG that are not
        # turned are read there at once.
        "host": (2 * up / rates.copy + PIXELS * rates.write) / rates.cores,
    }


def bounding(parts: Mapping[str, float]) -> str:
    """The part that takes longest."""
    return max(parts, key=lambda name: parts[name])


def rows_of(label: str, counts: list[dict[str, Any]], rates: Rates = Rates()) -> list[dict[str, Any]]:
    """A line for each method and disk."""
    rows = []
    for row in (row for row in counts if row["part"] == "all"):
        for disk in DISKS:
            device_s, more_bytes = (of[label].get(row["method"], 0.0) for of in (DEVICE_S, LIGHT_BYTES))
            parts = parts_s(row, disk, rates, device_s, more_bytes)
            bound = bounding(parts)
            ms = {f"{name} ms": 1e3 * seconds for name, seconds in parts.items()}
            about = {"counts": label, "method": row["method"], "disk GB/s": disk / 1e9, **ms}
            rows.append(about | {"bound": bound, "of the disk's rate": parts["disk"] / parts[bound]})
    return rows


def main() -> None:
    """Print and store what the counts before and now come to."""
    rows = []
    for label, name in (("before", "device_counts_before"), ("now", "device_counts")):
        rows += rows_of(label, json.loads((RESULTS / f"{name}.json").read_text())["rows"])
    report("device_model", rows)


if __name__ == "__main__":
    main()
