"""Reports of the compiler are kept, and are those of the text, the options and the device that are asked for."""

from __future__ import annotations

import pytest

from bench import nvrtc
from bench.variants import compiled, translated, variants
from tests.cuda_cpu import build
from tests.kernels import resources

pytestmark = pytest.mark.skipif(bool(nvrtc.why_not() or build.why_not()), reason=nvrtc.why_not() or build.why_not())


def test_a_kept_report_is_the_compilers(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "folder", lambda: tmp_path)
    asked = []
    monkeypatch.setattr(resources, "compiled", lambda *which: (asked.append(which), compiled(*which))[1])
    cases = [(variant, architecture) for variant in variants("flatfield.cu")[:2] for architecture in (75, 90)]
    for _ in range(2):
        for variant, architecture in cases:
            found, made = resources.report(variant, architecture), compiled(variant, architecture)
            assert (found.resources, found.warnings) == (made.resources, made.warnings)
    assert asked == cases
    monkeypatch.setattr(nvrtc, "build", lambda: "another")
    resources.report(*cases[0])
    assert asked == [*cases, cases[0]]


def test_kept_warnings_are_the_compilers(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "folder", lambda: tmp_path)
    said = {75: ["a warning"], 90: []}
    monkeypatch.setattr(resources, "translated", lambda _, architecture: said[architecture])
    variant = variants("flatfield.cu")[0]
    for _ in range(2):
        assert [resources.warnings_of(variant, architecture) for architecture in said] == list(said.values())
        assert resources.report(variant, 90).warnings == []
        monkeypatch.setattr(resources, "translated", translated)
    monkeypatch.setattr(nvrtc, "build", lambda: "another")
    assert resources.warnings_of(variant, 75) == []
