"""Stacks by names: exact order and absent planes, or an error that names the matter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.stacks.copies import copies
from gpustitch.io.stacks.finding import chosen_stack, find_stacks

PLACE = "f"


def found(names):
    return find_stacks(PLACE, [Path(PLACE, name) for name in names], are_tiffs=False)


def opened(names, allow_missing=False, **choice):
    files = [Path(PLACE, name) for name in names]
    return chosen_stack(PLACE, files, StackChoice(**choice), are_tiffs=False, allow_missing=allow_missing)


def order(stack):
    return [None if page is None else str(page[0].relative_to(PLACE)) for page in stack.pages]


@pytest.mark.parametrize(
    "names",
    [
        [f"z_{n}.tif" for n in range(-15, 15)],
        [f"z_{n}.tif" for n in range(-12, 0)],
        [f"z-{n}.tif" for n in (3, 2, 1)] + [f"z{n}.tif" for n in range(4)],
        [f"z\N{MINUS SIGN}{n}.tif" for n in (2, 1)] + ["z0.tif"],
        [f"z_{n / 4:g}.tif" for n in range(9)],
        [f"z_{n / 4:.2f}.tif" for n in range(-5, 9)],
        [f"z_{n / 4:g}".replace(".", ",") + ".tif" for n in range(9)],
        [f"{n * 2.5:.1f}.tif" for n in range(6)],
        [f"z{n * 2.5:06.1f}.tif" for n in range(6)],
        [f"pos_{n:+05d}.tif" for n in range(-20, 30, 10)],
        ["z_1e-1.tif", "z_2e-1.tif", "z_1e0.tif"],
        ["z_1e-03.tif", "z_1e-02.tif", "z_1e-01.tif", "z_1e+00.tif"],
        ["A (1).tif", "A (2).tif", "A (3).tif"],
        [f"scan-001-{n:03}.tif" for n in range(1, 12)],
        [f"scan-{n}.tif" for n in range(1, 12)],
        [f"2024-01-{n:02}.tif" for n in range(1, 12)],
        [f"v1.2.{n}.tif" for n in range(8, 12)],
        [f"v1.{n}.tif" for n in range(8, 13)],
        [f"img_{n:04}.ome.tif" for n in range(4)],
        [f"img_{n:5}.tif" for n in range(8, 12)],
        ["IMG_1.tif", "img_2.tiff", "IMG_3.TIF"],
        [f"a_{n:04}_{120000 + n // 2}.tif" for n in range(12)],
        [f"a_{n:04}_{1437 * n % 1000:03}.tif" for n in range(9)],
        [f"run/{n}/img.tif" for n in range(9, 12)],
        [f"z_{n}.tif" for n in (0, 3, 7, 10, 13, 17)],  # every 3.33, rounded
        [f"z_{n}.tif" for n in (1, 2, 4, 8, 16)],  # numbers that count nothing
        [f"img_{n}.tif" for n in (143052, 143127, 143139, 143402)],
    ],
    ids=lambda names: names[0],
)
def test_order_of_names(names):
    assert order(opened(names[::-1])) == names


@pytest.mark.parametrize(
    ("names", "n", "choice", "chosen"),
    [
        ([f"i_Z{z:02}_C{c:02}.tif" for z in range(5) for c in (1, 2)], 2, {"stack_channel": "2"}, "i_Z00_C02.tif"),
        ([f"i_{z:02}_ch{c:02}.tif" for z in range(3) for c in range(4)], 4, {"stack_channel": "03"}, "i_00_ch03.tif"),
        ([f"t{t}_z{z:02}.tif" for t in (1, 2) for z in range(3)], 2, {"stack_time": "2"}, "t2_z00.tif"),
        ([f"i_{n:04}_C{1 + n % 2}.tif" for n in range(8)], 2, {"stack_channel": "1"}, "i_0000_C1.tif"),
        ([f"i_{n:04}_{1 + n % 2}.tif" for n in range(8)], 2, {"stack_series": "2"}, "i_0001_2.tif"),
        ([f"{w}_{n}.tif" for w in ("A01", "A02", "B01") for n in range(4)], 3, {"stack_series": "B01"}, "B01_0.tif"),
        ([f"i_{n}_{c}.tif" for c in ("green", "red") for n in range(3)], 2, {"stack_series": "red"}, "i_0_red.tif"),
        ([f"a_ch0{c}.tif" for c in range(2)], 2, {"stack_channel": "1"}, "a_ch01.tif"),
        ([f"c{c}_{n}.tif" for c in range(9) for n in range(3)], 9, {"stack_channel": "8"}, "c8_0.tif"),
        ([f"{d}/i_{n}.tif" for d in ("x", "y") for n in range(3)], 2, {"stack_series": "2"}, "y/i_0.tif"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_several_stacks_are_refused_with_their_list_and_one_is_chosen(names, n, choice, chosen):
    with pytest.raises(
        ParameterError, match=rf"f holds {n} stacks; choose one by .*`stack_series`: 1: .*; 2: "
    ) as error:
        opened(names)
    if "stack_series" not in choice:
        assert f"`{next(iter(choice))}`" in str(error.value)
    stack = opened(names, **choice)
    assert order(stack)[0] == chosen and len(stack.pages) == len(names) // n
    with pytest.raises(ParameterError, match="holds no stack with `stack_series` 99"):
        opened(names, stack_series="99")


@pytest.mark.parametrize(
    "copy",
    ["img_3 (1).tif", "img_3(2).tif", "img_3 - Copy.tif", "img_3 - Copy (2).tif", "Copy of img_3.tif", "img_3 copy.tif",
     "img_3 copy 2.tif", "img_3~.tif", "img_3 (Ada's conflicted copy 2024-01-02).tif", "Kopie von img_3.tif",
     "img_3.sync-conflict-20240102-112233-ABCDEFG.tif", "IMG_3 (1).TIFF", "img_3 (1) (1).tif"],
)  # fmt: skip
def test_copies_beside_their_originals_are_refused_by_name(copy):
    with pytest.raises(ParameterError, match=re.escape(f"copies of files, which are no frames: {copy} (of img_3.tif)")):
        opened([*(f"img_{n}.tif" for n in range(6)), copy])


def test_a_link_to_a_frame_is_no_frame_and_links_to_files_elsewhere_are(tmp_path):
    for folder in ("store", "links", "mixed"):
        (tmp_path / folder).mkdir()
    for n in range(4):
        (tmp_path / "store" / f"blob{n % 3}").touch()  # two frames are stored once
        (tmp_path / "links" / f"img_{n}.tif").symlink_to(tmp_path / "store" / f"blob{n % 3}")
        (tmp_path / "mixed" / f"img_{n}.tif").touch()
    links, mixed = (sorted((tmp_path / folder).iterdir()) for folder in ("links", "mixed"))
    assert copies(links) == {}
    added = tmp_path / "mixed" / "img_4.tif"
    added.symlink_to("img_2.tif")
    assert copies([*mixed, added]) == {added: mixed[2]}


def test_equal_numbers_are_refused():
    for other in ("img_01.tif", "img_1.tiff", "IMG_1.tif", "img_1.0.tif"):
        with pytest.raises(ParameterError, match="have the same number"):
            opened([*(f"img_{n}.tif" for n in range(4)), other])


def test_a_hole_is_an_error_that_names_it_or_an_absent_plane():
    names = [f"img_{n:05}.tif" for n in range(80)]
    lost = [name for n, name in enumerate(names) if n not in (40, 50, 51)]
    with pytest.raises(
        DamagedInputError, match=r"numbers 40, 50 to 51 are missing .*: 3 of 80 planes; .*`allow_missing`"
    ):
        opened(lost)
    stack = opened(lost, allow_missing=True)
    assert stack.absent == {40, 50, 51} and order(stack) == [name if name in lost else None for name in names]


@pytest.mark.parametrize(
    ("names", "named"),
    [
        ([f"z_{n / 4:g}.tif" for n in range(9) if n != 5], "number 1.25 is"),
        ([f"z_{n}.tif" for n in range(-4, 5) if n], "number 0 is"),
        (["img_1.tif", "img_2.tif", "img_4.tif"], "number 3 is"),
        ([f"img_{n}.tif" for n in range(0, 40, 2) if n != 12], "number 12 is"),
        ([f"img_{n:04}_{143052 + 37 * n}.tif" for n in range(9) if n != 3], "number 143163 is"),
        ([f"z_{n}.tif" for n in (0, 3, 7, 10, 17, 20)], "number about 13.5 is"),
        ([f"z_{1000 * n + n * n % 7}.tif" for n in range(20) if n != 9], "number about 9"),
    ],
)
def test_holes_of_all_kinds_of_numbers(names, named):
    with pytest.raises(DamagedInputError, match=rf"{named}.*missing"):
        opened(names)
    assert len(opened(names, allow_missing=True).absent) == 1


def test_more_missing_than_there_are_is_no_stack():
    names = ["img_1.tif", "img_2.tif", "img_3.tif", "img_999.tif"]
    for allow in (False, True):
        with pytest.raises(DamagedInputError, match=r"numbers 4 to 998 are missing .* more than are there"):
            opened(names, allow_missing=allow)


WRITTEN = {
    "padded": (lambda k: f"{k:04}", 1, range(50)),
    "bare": (lambda k: f"{k}", 1, range(120)),
    "signed": (lambda k: f"{k}", 1, range(-60, 5)),
    "plus": (lambda k: f"{k:+05d}", 1, range(-60, 60)),
    "quarters": (lambda k: f"{k / 4:g}", 1, range(60)),
    "signed quarters": (lambda k: f"{k / 4:g}", 1, range(-60, 5)),
    "fixed decimals": (lambda k: f"{k * 0.05:.2f}", 1, range(60)),
    "exponents": (lambda k: f"{k * 10:.3e}", 1, range(1, 60)),
}
PREFIXES = ("z_", "img_", "stack z=", "2024-01-02_", "scan-07_", "v1.2_pos_", "A01_")
ENDS = ("", "_raw", ".ome", " (x)", "_488")


@st.composite
def names_of_a_stack(draw):
    """Names in order with None for those that are lost, and names as they are found."""
    text, step, firsts = WRITTEN[draw(st.sampled_from(sorted(WRITTEN)))]
    step *= draw(st.sampled_from([1, 1, 2, 5]))
    n, first = draw(st.integers(8, 24)), draw(st.sampled_from(firsts))
    head, end = draw(st.sampled_from(PREFIXES)), draw(st.sampled_from(ENDS))
    suffixes = draw(st.lists(st.sampled_from([".tif", ".TIFF"]), min_size=n, max_size=n))
    lost = draw(st.sets(st.integers(1, n - 2), max_size=2))
    whole = [f"{head}{text(first + step * k)}{end}{suffix}" for k, suffix in enumerate(suffixes)]
    return [None if k in lost else name for k, name in enumerate(whole)]


@settings(deadline=None, max_examples=80)
@given(names_of_a_stack(), st.randoms(use_true_random=False))
def test_any_stack_is_in_order_with_its_holes(truth, random):
    names = [name for name in truth if name is not None]
    random.shuffle(names)
    assert order(opened(names, allow_missing=True)) == truth
    if None in truth:
        with pytest.raises(DamagedInputError, match="missing"):
            opened(names)
    else:
        assert order(opened(names)) == truth


@settings(deadline=None, max_examples=30)
@given(
    names_of_a_stack(), st.sampled_from(["C", "ch", "channel ", "t"]), st.booleans(), st.integers(2, 4),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_any_channels_and_times_are_told_apart(truth, token, is_before, n, random):
    def told(name, number):
        if name is None:
            return None
        return f"{token}{number}_{name}" if is_before else re.sub(r"(\.\w+)$", rf"_{token}{number}\1", name)

    kind = "stack_time" if token == "t" else "stack_channel"
    stacks = [[told(name, number) for name in truth] for number in range(1, n + 1)]
    names = [name for stack in stacks for name in stack if name is not None]
    random.shuffle(names)
    with pytest.raises(ParameterError, match=rf"holds {n} stacks; choose one by `{kind}`"):
        opened(names, allow_missing=True)
    for number, stack in enumerate(stacks, 1):
        assert order(opened(names, allow_missing=True, **{kind: str(number)})) == stack


@settings(deadline=None, max_examples=30)
@given(names_of_a_stack(), st.data())
def test_any_copy_is_refused(truth, data):
    names = [name for name in truth if name is not None]
    stem, suffix = re.fullmatch(r"(.*)(\.\w+)", data.draw(st.sampled_from(names))).groups()
    made = data.draw(st.sampled_from(["{} (1)", "{} - Copy", "{} - Copy (2)", "Copy of {}", "{} copy 2", "{}~"]))
    with pytest.raises(ParameterError, match="copies of files"):
        opened([*names, made.format(stem) + suffix])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.from_regex(r"\A[ab]?-?\d{0,2}[_.]?\d{0,3}\.(tif|png)\Z"), min_size=1, max_size=12, unique=True))
def test_no_file_is_lost_or_doubled(names):
    try:
        stacks = found(names)
    except ParameterError as error:
        assert "same number" in str(error) or "copies" in str(error)
        return
    assert sorted(name for stack in stacks for name in order(stack) if name is not None) == sorted(names)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 980), st.sampled_from([2, 5, 10, 25]), st.integers(8, 26), st.data(), st.sampled_from([".", ","]),
    st.sampled_from(["", "_C1"]),
)  # fmt: skip
@example(85, 5, 20, None, ".", "")
def test_decimals_with_a_hole_stay_in_order(first, step, n, data, point, end):
    """Without 0.95, the whole numbers behind the point of 0.90 and 1.00 to 1.85 have no hole, but the wrong order."""
    lost = 2 if data is None else data.draw(st.integers(1, n - 2))
    truth = [f"img_{v // 100}{point}{v % 100:02d}{end}.tif" for v in range(first, first + n * step, step)]
    truth[lost] = None
    assert order(opened([name for name in truth if name is not None][::-1], allow_missing=True)) == truth


def test_names_of_two_orders_are_refused_and_a_z_decides():
    names = [f"img{k}_{other}C.tif" for k, other in enumerate([37, 36, 38, 35, 39])]
    with pytest.raises(
        ParameterError, match=r"img3_35C\.tif is the first by number 2 .*img0_37C\.tif by number 1; rename"
    ):
        opened(names)
    named = [name.replace("img", "z") for name in names]
    assert order(opened(named)) == named
