"""Values as they are typed, and back."""

from __future__ import annotations

import pytest

from gpustitch.cli.values import TEXTS, bytes_text, parsed
from gpustitch.errors import ParameterError
from gpustitch.model import Spacing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("512M", 512 << 20),
        ("20G", 20 << 30),
        ("20g", 20 << 30),
        ("1.5 GiB", 3 << 29),
        ("2T", 2 << 40),
        ("7kB", 7 << 10),
    ],
)
def test_bytes_are_read_with_their_unit(text, expected):
    assert parsed("bytes", text, "device_memory_bytes") == expected


@pytest.mark.parametrize("text", ["", "G", "-1G", "12X", "1,5G", "1e9"])
def test_other_texts_are_no_bytes(text):
    with pytest.raises(ParameterError, match="`device_memory_bytes` takes"):
        parsed("bytes", text, "device_memory_bytes")


@pytest.mark.parametrize("number", [0, 1, 1000, 1 << 10, 3 << 20, 5 << 30, (1 << 30) + 1])
def test_bytes_are_written_as_they_are_read(number):
    assert parsed("bytes", bytes_text(number), "memory") == number


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("xyz", "1,2,3", (3, 2, 1)),
        ("spacing", "0.1,0.2,0.3", Spacing(0.3, 0.2, 0.1)),
        ("positive xy", "0.5,0.7", (0.7, 0.5)),
        ("scale", "0.5", (0.5, 0.5)),
        ("scale", "0.5,0.25", (0.25, 0.5)),
        ("counts xy", "16", (16, 16)),
        ("counts xy", "16,8", (8, 16)),
        ("rising", "30,40.5,0", (30.0, 40.5, 0.0)),
        ("auto or number", "auto", "auto"),
        ("auto or number", "off", "off"),
        ("auto or number", "2.5", 2.5),
        ("names", "a, image type ,", ("a", "image-type")),
    ],
)
def test_texts_are_written_x_first(kind, text, value):
    assert parsed(kind, text, "name") == value
    assert parsed(kind, TEXTS[kind].show(value), "name") == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("xyz", "1,2"), ("xyz", "1,2,3,4"), ("xyz", "1,2,x"), ("xyz", ""), ("xyz", "1.5,2,3"),
        ("spacing", "1,2"), ("spacing", "0,1,1"), ("positive xy", "0,1"), ("positive xy", "inf,1"),
        ("positive xy", "nan,1"), ("scale", "a"), ("scale", "1,2,3"), ("counts xy", "0"), ("counts xy", "2,-1"),
        ("rising", "30,x"),
    ],
)  # fmt: skip
def test_other_texts_are_refused_by_name(kind, text):
    with pytest.raises(ParameterError, match="`window_px` takes") as refused:
        parsed(kind, text, "window_px")
    assert refused.value.parameter == "window_px"
