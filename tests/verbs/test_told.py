"""Warnings point at the caller's line."""

from __future__ import annotations

import pytest

from gpustitch.errors import GpustitchWarning
from gpustitch.verbs.told import TOLD, tell


@pytest.mark.parametrize("say", [tell, TOLD.warn])
def test_tell_warns_at_the_callers_line(say):
    with pytest.warns(GpustitchWarning, match="look here") as told:
        say("look here")
    assert told[0].filename == __file__


def test_told_is_silent_else(capfd, recwarn):
    TOLD.start("x", 1, "frames")
    TOLD.note("nothing")
    TOLD.advance()
    TOLD.finish()
    assert not recwarn.list and capfd.readouterr() == ("", "")
