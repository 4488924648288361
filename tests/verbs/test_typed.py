"""Whatever is no number where one is asked for is refused by the parameter's name, in every call of the library."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.demo.series.dicom import write_series
from gpustitch.verbs.typed import check_value, fields_of, hints_of

FRAMES = np.random.default_rng(0).integers(100, 1000, (12, 24, 16)).astype(np.uint16)
# Arguments with which each call works, but for the value that is tried.
GIVEN: dict[str, dict[str, Any]] = {
    "flat_field": {"frames": FRAMES}, "destripe": {"image": FRAMES}, "align": {"fixed": FRAMES, "moving": FRAMES},
    "deskew": {"frames": FRAMES, "pixel_um": 1.8, "step_um": 1.28},
    "stitch": {"tiles": [FRAMES], "positions_um": [(0, 0, 0)], "spacing_um": (1, 1, 1)},
    "similarity": {"sections": FRAMES, "max_lag": 3}, "z_positions": {"sections": FRAMES, "max_lag": 3},
    "render": {"sections": FRAMES, "positions": np.arange(12.0), "z_spacing": 1.0},
    "judge": {"paths": "CT"}, "resample_slices": {"source": "CT"}, "pipeline": {"channel": "channel"},
    "open_frames": {"path": "CT"}, "open_planes": {"path": "CT"}, "open_volume": {"path": "CT"},
    "write": {"path": "w", "volume": FRAMES, "spacing_um": (1, 1, 1)},
    "open_output": {"path": "o", "shape": (8, 8, 8), "dtype": "uint16", "spacing_um": (1, 1, 1)},
}  # fmt: skip
NO_NUMBERS = ("1.8", "abc", b"1", ["1", "2"], 1j, {}, np.datetime64("2020-01-01"))
YES = ("no", "False", b"1", ["1"], 2, 0.5, {})


def asked(name: str) -> dict[str, Any]:
    """Parameters of a call and its options, with their annotations."""
    verb = getattr(gs, name)
    hints = hints_of(inspect.unwrap(verb))
    places = inspect.getclosurevars(verb).nonlocals.get("options", ())
    own = {key: hints[key] for key, p in inspect.signature(verb).parameters.items() if p.kind is not p.VAR_KEYWORD}
    return {**{key: hint for place in places for key, hint in fields_of(place)}, **own}


def tried() -> list[Any]:
    """Each call with each parameter that is a number, or yes or no, and nothing else."""
    found = []
    for name in GIVEN:
        for key, hint in asked(name).items():
            for kinds, values in (((float, int), NO_NUMBERS), ((bool,), YES)):
                if hint in kinds or any(hint == (kind | None) for kind in kinds):
                    found.append(pytest.param(name, key, values, id=f"{name}-{key}"))
    return found


@pytest.fixture(scope="module", autouse=True)
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices, which some calls read."""
    folder = tmp_path_factory.mktemp("typed")
    write_series(folder / "CT", np.arange(8) * 2.0, pixel_spacing_mm=(0.5, 0.5))
    return folder


@pytest.mark.parametrize(("name", "key", "values"), tried())
def test_what_is_no_number_is_refused_by_name(name, key, values, series, monkeypatch) -> None:
    monkeypatch.chdir(series)
    for value in values:
        with pytest.raises(gs.GpustitchError, match=f"`{key}` must be (a number|True or False)"):
            getattr(gs, name)(**GIVEN[name] | {key: value})
    assert [path.name for path in series.iterdir()] == ["CT"]


def test_every_call_has_parameters_that_are_looked_at() -> None:
    calls = {case.values[0] for case in tried()}
    assert {"deskew", "destripe", "flat_field", "align", "stitch", "pipeline", "z_positions", "write"} <= calls
    assert len(tried()) > 80


@pytest.mark.parametrize(
    ("hint", "taken", "refused"),
    [
        (float, (1, 1.5, np.float32(2), np.array(3.0), True), ("1", [1.0, 2.0], 1j)),
        (float | None, (None, 4), ("None", b"4")),
        (bool, (True, False, np.True_, 0, 1), ("yes", 2, [], 0.0)),
        (Literal["auto", "off"] | float, ("auto", "other words are told below", 2.5), (b"auto", [2.5], {})),
        (tuple[float, float] | None, (None, (1, 2), [1.0, 2.0], np.ones(2)), ("12", (1, "2"), (1, 2, 3), 5, {})),
        (tuple[int, ...], ((), (1,), [1, 2, 3]), ("123", ["1"], 4)),
        (str, ("1.8", 4, None), ()),
        (tuple[str, ...], ((), ("a",), ["a", "b"]), ("time", "t", "", b"time")),
        (tuple[str, ...] | None, (None, ("a",)), ("time",)),
        (int, (3,), (None,)),
        (Any, ("x", 1j, {}), ()),
        (float | np.ndarray, (np.ones(3), 2.0), ("2", b"2")),
    ],
)  # fmt: skip
def test_annotations_say_what_is_taken(hint, taken, refused) -> None:
    for value in taken:
        check_value("name", value, hint)
    for value in refused:
        with pytest.raises(gs.GpustitchError, match="`name` must be"):
            check_value("name", value, hint)
