"""The server of folders: what lies in them and nothing else, whole or in part, by the names that are asked for."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import imagecodecs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.show.server import FolderServer, OutsideError, asked_range, stored

SECRET = b"this lies outside of what is served"
CHUNK = bytes(range(256)) * 5


@contextlib.contextmanager
def serving(*folders: Path, client: Path | None = None, **where: Any) -> Iterator[FolderServer]:
    server = FolderServer(folders, client or folders[0], lambda data: {"data": data}, **where)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of volumes, a client, and a file beside them that nobody may read."""
    place = tmp_path_factory.mktemp("served")
    for name in ("one", "two", "client"):
        (place / name / "sub").mkdir(parents=True)
        (place / name / "info").write_bytes(name.encode())
        (place / name / "index.html").write_bytes(b"<html>" + name.encode())
        (place / name / "sub" / "file").write_bytes(CHUNK)
    (place / "one" / ".zattrs").write_bytes(b"{}")
    (place / "one" / "nothing").write_bytes(b"")
    (place / "secret").write_bytes(SECRET)
    (place / "one-more").mkdir()
    (place / "one-more" / "info").write_bytes(SECRET)
    return place


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[FolderServer]:
    with serving(place / "one", place / "two", client=place / "client") as server:
        yield server


def ask(
    server: FolderServer, path: str, method: str = "GET", headers: Mapping[str, str] | None = None, host: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer; ``path`` is below the token unless it begins with a slash."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=10)
    try:
        connection.putrequest(method, path if path.startswith("/") else f"/{server.token}/{path}", skip_host=True)
        for name, value in {"Host": host or "127.0.0.1:80", **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_files_of_each_folder(server: FolderServer) -> None:
    assert ask(server, "data/0/info")[2] == b"one"
    assert ask(server, "data/1/info")[2] == b"two"
    assert ask(server, "data/0/.zattrs")[2] == b"{}"
    assert ask(server, "data/0/nothing")[::2] == (200, b"")
    status, headers, body = ask(server, "data/1/sub/file")
    assert (status, body, headers["content-length"]) == (200, CHUNK, str(len(CHUNK)))
    assert headers["access-control-allow-origin"] == "*" and headers["accept-ranges"] == "bytes"


ABSENT = ("data/0/absent", "data/0/sub", "data/0/", "data/2/info", "data/-1/info", "data/00/info", "data", "info")


@pytest.mark.parametrize("path", ABSENT)
def test_what_is_not_there(server: FolderServer, path: str) -> None:
    assert ask(server, path)[0] == 404


def test_only_those_who_were_told(server: FolderServer) -> None:
    for path in ("/", "/data/0/info", f"/{'0' * 16}/data/0/info", f"/{server.token}x/data/0/info", "//info", "/\u00fc"):
        assert ask(server, quote(path))[0] == 404, path


def test_the_page_and_its_state(server: FolderServer) -> None:
    host = "localhost:1234"  # as a tunnel has it
    status, headers, _ = ask(server, "", host=host)
    assert status == 302
    assert headers["location"] == f"v/view/#!http://{host}/{server.token}/state.json"
    assert ask(server, "v/view/")[1]["content-type"] == "text/html"
    assert ask(server, "v/view/")[2] == b"<html>client"
    assert ask(server, "v/view/sub/file")[2] == CHUNK
    assert json.loads(ask(server, "state.json", host=host)[2]) == {"data": f"http://{host}/{server.token}/data"}
    assert server.url == f"http://127.0.0.1:{server.server_address[1]}/{server.token}/"


def test_head_tells_and_does_not_send(server: FolderServer) -> None:
    status, headers, body = ask(server, "data/0/sub/file", "HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(CHUNK)), b"")
    assert ask(server, "data/0/none", "HEAD")[::2] == (404, b"")


def test_other_pages_may_ask(server: FolderServer) -> None:
    status, headers, _ = ask(server, "data/0/info", "OPTIONS", {"Origin": "https://example.org"})
    assert status == 204
    assert "GET" in headers["access-control-allow-methods"] and headers["access-control-allow-origin"] == "*"
    assert ask(server, "data/0/info", "OPTIONS", host="example.org")[0] == 403
    assert ask(server, "state.json", "POST")[0] == 501


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:80"])
def test_names_of_this_machine(server: FolderServer, host: str) -> None:
    assert ask(server, "data/0/info", host=host)[0] == 200


@given(
    st.from_regex(r"[a-z0-9@:\[\] ./#-]{0,12}[a-z]\.[a-z]{2,4}", fullmatch=True),
    st.sampled_from(["127.0.0.1.{}", "{}.localhost", "localhost@{}", "{}@localhost", "localhost:{}", "[::1]{}", "{}"]),
    st.sampled_from(["", ":80", ":"]),
)
def test_foreign_names_are_refused(server: FolderServer, name: str, known: str, port: str) -> None:
    """A page of example.org whose name is made to lead here must not read anything."""
    assert not server.knows(known.format(name) + port)


def test_a_foreign_name_is_told_so(server: FolderServer) -> None:
    for host in ("example.org", "example.org:80", "169.254.1.1", ""):
        connection = ask(server, "data/0/info", host=host or " ")
        assert connection[0] == 403 and b"one" not in connection[2]


PARTS = st.one_of(
    st.sampled_from(
        ["..", ".", "", "%2e%2e", "%2E.", "..%2f", "%2f", "%5c..", "..%5csecret", "%00", "secret", "info", "sub",
         "file", "one", "one-more", "..%00", "C:", "%c0%ae%c0%ae", "~", "0", "1", "data", "v", "view", "a" * 300]
    ),
    st.text(max_size=8).map(lambda text: quote(text, safe="")),
)  # fmt: skip


@settings(max_examples=80)
@given(st.lists(PARTS, max_size=6), st.sampled_from(["data/0", "data/1", "v/view", "data", ""]))
def test_nothing_else_is_served(server: FolderServer, place: Path, parts: list[str], below: str) -> None:
    """Whatever is asked for, what comes is a file of the folder by its plain name."""
    status, _, body = ask(server, "/".join([below, *parts]) if below else "/" + "/".join(parts))
    assert SECRET not in body
    assert status in (200, 302, 404, 500)
    if status == 200:
        folder = {"data/0": "one", "data/1": "two", "v/view": "client"}.get(below, "")
        name = [part for part in parts if part] or ["index.html"]
        if below == "data":
            folder, *name = [("one", "two")[int(parts[0])], *parts[1:]]
        assert body == place.joinpath(folder, *name).read_bytes()
        assert not {"..", "."} & set(name)


def test_links_out_of_the_folder(tmp_path: Path) -> None:
    """They are refused, and not said to be absent: the client takes an absent chunk for an empty one."""
    (tmp_path / "v").mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    try:
        (tmp_path / "v" / "out").symlink_to(tmp_path / "secret")
        (tmp_path / "v" / "lost").symlink_to(tmp_path / "v" / "gone")
        (tmp_path / "v" / "loop").symlink_to(tmp_path / "v" / "loop")
        (tmp_path / "v" / "in").symlink_to(tmp_path / "v" / "there")
    except OSError:
        pytest.skip("this system makes no links")
    (tmp_path / "v" / "there").write_bytes(CHUNK)
    with serving(tmp_path / "v") as server:
        assert ask(server, "data/0/in")[2] == CHUNK
        for name in ("out", "lost", "loop"):
            status, _, body = ask(server, f"data/0/{name}")
            assert status == 500 and SECRET not in body, name
    with pytest.raises(OutsideError, match="out"):
        stored((tmp_path / "v").resolve(), ["out"])


def test_a_file_that_cannot_be_read_is_not_absent(
    server: FolderServer, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *arguments: Any, **others: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert ask(server, "data/0/info")[0] == 500


@settings(max_examples=40)
@given(st.integers(0, 40), st.one_of(st.none(), st.integers(0, 50)), st.one_of(st.none(), st.integers(0, 50)))
def test_parts_of_files(server: FolderServer, place: Path, size: int, first: int | None, last: int | None) -> None:
    """A part is what the same slice of the bytes is; parts that are none are refused; what is no range is ignored."""
    whole = CHUNK[:size]
    (place / "one" / "part").write_bytes(whole)
    text = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    status, headers, body = ask(server, "data/0/part", headers={"Range": text})
    if (first is None and last is None) or (first is not None and last is not None and last < first):
        assert (status, body) == (200, whole)
        return
    if first is None:
        expected = whole[max(0, size - (last or 0)) :]
    else:
        expected = whole[first:] if last is None else whole[first : last + 1]
    if not expected:
        assert status == 416 and headers["content-range"] == f"bytes */{size}"
        return
    assert (status, body) == (206, expected)
    span = headers["content-range"].removeprefix("bytes ").partition("/")[0].split("-")
    assert whole[int(span[0]) : int(span[1]) + 1] == expected


def test_what_is_no_range() -> None:
    assert asked_range("", 10) is None
    assert asked_range("lines=1-2", 10) is None
    assert asked_range("bytes=0-1,4-5", 10) is None
    assert asked_range("bytes=2-5", 10) == (2, 6)


LAYOUTS = {
    "plain": ("{}", bytes),
    "gz": ("{}.gz", gzip.compress),
    "br": ("{}.br", imagecodecs.brotli_encode),
}


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), min_size=3, max_size=3),
    st.sampled_from(sorted(LAYOUTS)),
    st.booleans(),
    st.sampled_from(["", "gzip", "gzip, deflate, br", "identity"]),
    st.binary(max_size=200),
    st.booleans(),
)
def test_chunks_of_every_layout(
    server: FolderServer,
    place: Path,
    ranges: list[tuple[int, int]],
    layout: str,
    is_nested: bool,
    accepted: str,
    voxels: bytes,
    is_part: bool,
) -> None:
    """Compressed or in folders, under its plain name a chunk is its voxels and never something else."""
    name = "_".join(f"{a}-{b}" for a, b in ranges)
    pattern, encode = LAYOUTS[layout]
    file = place / "two" / "1_1_1" / pattern.format(name.replace("_", "/") if is_nested else name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode(voxels))
    try:
        headers = {"Accept-Encoding": accepted, **({"Range": "bytes=0-4"} if is_part else {})}
        status, said, body = ask(server, f"data/1/1_1_1/{name}", headers=headers)
        encoding = said.get("content-encoding", "")
        assert encoding in accepted
        decode = {"gzip": gzip.decompress, "br": imagecodecs.brotli_decode, "": bytes}[encoding]
        if status == 416:
            assert is_part and not voxels
        else:
            assert bytes(decode(body)) == (voxels[:5] if status == 206 else voxels)
            assert status == (206 if is_part and layout == "plain" else 200)
    finally:
        file.unlink()
    assert ask(server, f"data/1/1_1_1/{name}")[0] == 404


def test_damaged_compression_is_said(server: FolderServer, place: Path) -> None:
    for name in ("bad.gz", "bad2.br"):
        (place / "two" / name).write_bytes(b"\x1f\x8b damaged")
        assert ask(server, f"data/1/{Path(name).stem}", headers={"Accept-Encoding": "identity"})[0] == 500


def test_many_ask_at_once(server: FolderServer) -> None:
    """A client that holds the line, as every open page does, keeps none waiting."""
    held = http.client.HTTPConnection(*server.server_address[:2], timeout=10)
    held.request("GET", f"/{server.token}/events/view", headers={"Host": "localhost"})
    line = held.getresponse()
    assert line.getheader("Content-Type") == "text/event-stream" and line.readline() == b":\n"
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(ask(server, "data/0/sub/file")[2])) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert got == [CHUNK] * 20
    held.close()


def test_ports_and_addresses(server: FolderServer, place: Path) -> None:
    port = server.server_address[1]
    with pytest.raises(ParameterError, match=f"`port` {port} of 127.0.0.1 is in use"):
        FolderServer([place / "one"], place / "client", dict, port=port)
    for address in ("203.0.113.7", "no.such.name.invalid", "x" * 300):
        with pytest.raises(ParameterError, match="`address`"):
            FolderServer([place / "one"], place / "client", dict, address)
    with serving(place / "one") as other:
        freed = other.server_address[1]
    with serving(place / "one", port=freed) as again:
        assert ask(again, "data/0/info")[0] == 200


def test_other_machines_come_by_number_or_by_this_ones_name(place: Path) -> None:
    """Other machines may come by number or by this machine's name, but not by a foreign one."""
    with serving(place / "one", address="0.0.0.0") as server:
        assert not server.is_local
        assert ask(server, "data/0/info", host="192.0.2.1:80")[0] == 200
        assert ask(server, "data/0/info", host="example.org")[0] == 403
        assert "0.0.0.0" not in server.url
