"""The report of an output: what it finds in a good one, and in one that was changed."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.convert import stage as convert
from gpustitch.convert.options import ConvertOptions
from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.oblique.report.check import Check
from gpustitch.oblique.report.stage import ReportOptions, ReportResult, plan, run
from gpustitch.running.progress import Silent
from tests.oblique.report.conftest import Made
from tests.oblique.report.sabotage import moved_position

pytestmark = pytest.mark.xdist_group("report")


def reported(output: Path, **options: object) -> ReportResult:
    return run(plan(ReportOptions(output, **options)))  # type: ignore[arg-type]


def check_of(result: ReportResult, name: str) -> Check:
    (found,) = (check for check in result.checks if check.name == name)
    return found


@pytest.fixture(scope="module")
def good(made: Made, tmp_path_factory: pytest.TempPathFactory) -> ReportResult:
    """The report of the output as it was made, beside it; tests leave both as they are."""
    return reported(made.copied(tmp_path_factory.mktemp("good") / "out"))


def test_a_good_output_passes_and_says_by_which_numbers(good: ReportResult) -> None:
    result = good
    assert result.verdict == "pass", list(result.lines())
    placed = check_of(result, "placement")
    assert placed.value is not None and placed.value < 0.5
    assert check_of(result, "tiles in the volume").reason.startswith("the volume shows 4 of 4")
    record = json.loads((good.page.parent / "report.json").read_text("utf-8"))
    assert record["schema"] == 1 and record["verdict"] == "pass"
    assert [check["name"] for check in record["checks"]] == [check.name for check in result.checks]
    assert len({check.name for check in result.checks}) == len(result.checks)


class _Tags(HTMLParser):
    """Which tags are open, and addresses that a page asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_no_script(made: Made, tmp_path: Path) -> None:
    text = reported(made.copied(tmp_path / "<out> & more")).page.read_text("utf-8")
    tags = _Tags()
    tags.feed(text)
    assert not tags.open and not {"script", "link", "iframe"} & tags.seen
    assert tags.addresses and all(address.startswith("data:image/png;base64,") for address in tags.addresses)
    assert "url(" not in text and "prefers-color-scheme: dark" in text and "@media print" in text
    assert "&lt;out&gt; &amp; more" in text and "<out>" not in text
    assert "None" not in re.sub(r"<[^>]*>", " ", text.partition("All parameters")[0])


def test_the_same_output_gives_the_same_page(good: ReportResult) -> None:
    first = good.page.read_bytes()
    assert reported(good.page.parent).page.read_bytes() == first


@pytest.mark.parametrize(("number", "by_um"), [(0, (30, 0, 0)), (3, (0, -30, 0)), (2, (0, 0, 0.5))])
def test_a_position_edited_afterwards_is_told(
    made: Made, tmp_path: Path, number: int, by_um: tuple[float, float, float]
) -> None:
    output = made.copied(tmp_path / "out")
    moved_position(output / "align.json", output / "align.json", number, by_um)
    result = reported(output, most_bytes=1)  # it is told whether tiles are compared or not
    check = check_of(result, "alignment file")
    assert result.verdict == check.state == "fail"
    assert sum(tile.name in check.reason for tile in made.truth.tiles) == 1


def test_a_volume_that_moved_tiles_is_told(made: Made, tmp_path: Path) -> None:
    """The sidecar and the alignment file agree, but the voxels are of another place."""
    output = made.copied(tmp_path / "out")
    sidecar = output / "volume" / "gpustitch.json"
    content = json.loads(sidecar.read_text("utf-8"))
    for tile in content["tiles"]:
        tile["origin_px"][1] += 2 if tile is content["tiles"][0] else 0
    sidecar.write_text(json.dumps(content), "utf-8")
    result = reported(output)
    check = check_of(result, "tiles in the volume")
    assert check.state == "fail" and content["tiles"][0]["name"] in check.reason
    assert check_of(result, "placement").state == "warn"


def test_without_raw_tiles_what_they_tell_is_not_measured(made: Made, tmp_path: Path) -> None:
    output = made.copied(tmp_path / "out")
    result = reported(output, channel=tmp_path / "gone")
    states = {check.name: check.state for check in result.checks}
    assert {states[name] for name in ("placement", "frames", "saturation", "tiles in the volume")} == {"not measured"}
    assert states["files"] == states["alignment file" if "alignment file" in states else "files"] == "pass"
    assert "fail" not in states.values() and result.page.stat().st_size > 5000


def test_another_folder_may_hold_the_raw_tiles(made: Made, tmp_path: Path) -> None:
    output = made.copied(tmp_path / "out")
    record = output / "provenance.json"
    content = json.loads(record.read_text("utf-8"))
    content["parameters"]["channel"] = str(tmp_path / "moved-away")
    record.write_text(json.dumps(content), "utf-8")
    assert check_of(reported(output), "placement").state == "not measured"
    assert check_of(reported(output, channel=made.truth.channel()), "placement").state == "pass"


def test_lost_files_of_the_volume_fail_and_the_page_says_so(made: Made, tmp_path: Path) -> None:
    output = made.copied(tmp_path / "out")
    next(path for path in (output / "volume" / "1_1_1").iterdir() if path.is_file()).unlink()
    result = reported(output, most_bytes=1)
    assert result.verdict == "fail" and check_of(result, "files").state == "fail"
    assert "not there" in result.page.read_text("utf-8") or "missing" in result.page.read_text("utf-8")


def test_few_bytes_leave_overlaps_out_and_say_so(made: Made, tmp_path: Path) -> None:
    check = check_of(reported(made.copied(tmp_path / "out"), most_bytes=1), "placement")
    assert "left out" in check.reason


@pytest.mark.parametrize("name", ["volume.tif", "planes", "volume.nii"])
def test_a_volume_as_planes_alone_is_to_be_made_one_of_chunks(made: Made, tmp_path: Path, name: str) -> None:
    """The message says how, and the report is then as good as before."""
    output = made.copied(tmp_path / "out")
    kept = output / name
    convert.run(convert.plan(ConvertOptions(output / "volume", kept, format="planes" if name == "planes" else None)))
    shutil.rmtree(output / "volume")
    with pytest.raises(InputMissingError, match=name) as told:
        plan(ReportOptions(output))
    _, source, target = str(told.value).rsplit(" ", 2)
    assert str(told.value).endswith(f"gpustitch convert {source} {target}") and Path(source) == kept
    convert.run(convert.plan(ConvertOptions(Path(source), Path(target), levels=3)))
    for level in range(3):
        before, after = (gs.open_volume(place / "volume", level=level) for place in (made.output, output))
        np.testing.assert_array_equal(np.asarray(after), np.asarray(before))
    if name != "volume.tif":  # it is no other report
        plan(ReportOptions(output))
        return
    result = reported(output)
    assert result.verdict == "pass" and check_of(result, "tiles in the volume").state == "pass"


def test_what_is_no_output_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="no output"):
        plan(ReportOptions(tmp_path))
    output = made.copied(tmp_path / "out")
    (output / "provenance.json").write_text("[]", "utf-8")
    with pytest.raises(DamagedInputError):
        plan(ReportOptions(output))
    shutil.rmtree(output / "volume")
    with pytest.raises(InputMissingError):
        plan(ReportOptions(output))


class Heard(Silent):
    """Keeps what it is warned of."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, message: str) -> None:
        self.said.append(message)


def test_a_report_that_measured_more_is_kept_when_raw_tiles_are_gone(good: ReportResult, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(good.page.parent, out)
    page, record = ((out / name).read_bytes() for name in ("report.html", "report.json"))
    for again in (False, True):
        heard = Heard()
        result = run(plan(ReportOptions(out, channel=tmp_path / "gone")), heard)
        assert check_of(result, "placement").state == "not measured"
        assert "raw tiles are not looked at" in heard.said[0] and "`channel`" in heard.said[0]
        assert (out / "report.before.html").read_bytes() == page
        assert (out / "report.before.json").read_bytes() == record
        kept = [said for said in heard.said if "report.before.html" in said]
        assert len(kept) == (not again) and all("placement" in said for said in kept)
    # A later report that answers something else, but less, does not take the place of the one that is kept.
    answered = json.loads((out / "report.json").read_text("utf-8"))
    answered["checks"].append({"name": "another", "state": "pass"})
    (out / "report.json").write_text(json.dumps(answered), "utf-8")
    run(plan(ReportOptions(out, channel=tmp_path / "gone")), heard := Heard())
    assert any("another" in said and "report.before.html" in said for said in heard.said)
    assert (out / "report.before.html").read_bytes() == page and (out / "report.before.json").read_bytes() == record


@pytest.mark.parametrize("record", ["", "{", "[]", "null", '{"checks": 3}', '{"checks": [{}]}', '{"checks": [[]]}'])
def test_an_earlier_record_that_is_damaged_stops_no_report(made: Made, tmp_path: Path, record: str) -> None:
    out = made.copied(tmp_path / "out")
    (out / "report.json").write_text(record, "utf-8")
    assert run(plan(ReportOptions(out, channel=tmp_path / "gone"))).page.is_file()
    assert not (out / "report.before.json").exists()
