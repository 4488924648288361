"""Serves folders and the Neuroglancer client over HTTP, to browsers that know the address."""

from __future__ import annotations

import errno
import gzip
import ipaddress
import itertools
import json
import os
import re
import secrets
import socket
import socketserver
import sys
import threading
import zlib
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import imagecodecs

from gpustitch.errors import ParameterError

# Suffixes of files that hold what is asked for in an encoding of HTTP.
_ENCODINGS = (("", ""), (".gz", "gzip"), (".br", "br"))
_DECODERS: dict[str, Callable[[bytes], Any]] = {"gzip": gzip.decompress, "br": imagecodecs.brotli_decode}
_CHUNK = re.compile(r"-?\d+--?\d+(_-?\d+--?\d+){2}")
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::\d+)?")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm"}
_ANY = "application/octet-stream"
# Other pages may read as well: whoever knows the token was told it. A browser asks before it lets a public page do so.
_SHARED = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Length, Content-Range",
}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Private-Network": "true",
}
_ALIVE_S = 15.0  # between two signs of life to a page, which notes when they end


class OutsideError(OSError):
    """What a name leads to lies outside its folder."""


class FolderServer(socketserver.ThreadingTCPServer):
    """Serves below ``/TOKEN/``, with a thread for each connection; nothing else is served, and no folder is listed.

    ``data/N/...`` are the files of ``folders[N]``, ``v/view/`` is the client, ``state.json`` is the state that the
    client begins with. A chunk that lies compressed (``.gz``, ``.br``) or nested (``x/y/z``) is found by its plain
    name.

    Parameters
    ----------
    folders
        Folders of volumes.
    client
        Folder of the client's ``index.html``.
    state
        Gives the client's state for the address at which a browser finds the data.
    address, port
        Where to serve; port 0 for any that is free.

    Raises
    ------
    ParameterError
        If the address is not one of this machine, or the port is not free.
    """

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere it lets two programs serve one port
    request_queue_size = 128

    def __init__(
        self,
        folders: Sequence[Path],
        client: Path,
        state: Callable[[str], dict[str, Any]],
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.folders = tuple(folder.resolve() for folder in folders)
        self.client = client.resolve()
        self.state = state
        self.token = secrets.token_hex(8)
        self.stopped = threading.Event()
        self._address = address
        try:
            self.address_family, *_, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
            number = str(place[0])
            self.is_local = ipaddress.ip_address(number).is_loopback
            super().__init__((number, port), _Handler)
        except (OSError, UnicodeError) as error:
            raise _refused(address, port, error) from error
        self._names = {"localhost", "127.0.0.1", "::1", address.lower()}
        if not self.is_local:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    @property
    def url(self) -> str:
        """The address to open in a browser."""
        name = socket.gethostname() if self._address in ("0.0.0.0", "::") else self._address
        host = f"[{name}]" if ":" in name else name
        return f"http://{host}:{self.server_address[1]}/{self.token}/"

    def start(self) -> None:
        """Serve from threads of this process until :meth:`stop`."""
        threading.Thread(target=self.serve_forever, args=(0.1,), name="http", daemon=True).start()

    def stop(self) -> None:
        """Take no more connections, and free the port."""
        self.stopped.set()
        self.shutdown()
        self.server_close()

    def knows(self, host: str) -> bool:
        """Whether a request may name this host: a foreign name that leads here is a trick to read what is served."""
        match = _HOST.fullmatch(host.lower())
        name = (match[1] or match[2]) if match else ""
        return name in self._names or (not self.is_local and _is_ip(name))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what is a fault of this program; a browser that hangs up is none."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: FolderServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 600.0

    def do_GET(self) -> None:
        """Answer, or say what failed: 404 is for what is not there, and the client reads it as an empty chunk."""
        self._is_answered = False
        try:
            self._route()
        except (OSError, EOFError, RuntimeError, zlib.error) as error:
            if self._is_answered:  # the browser hung up, or what was promised cannot be sent
                raise
            self._fail(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    do_HEAD = do_GET

    def do_OPTIONS(self) -> None:
        """Let pages of other origins read."""
        if self._is_allowed():
            self._send(HTTPStatus.NO_CONTENT, {**_PREFLIGHT, "Content-Length": "0"})

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a view makes thousands of requests."""

    def _is_allowed(self) -> bool:
        if self.server.knows(self.headers.get("Host", "")):
            return True
        self._fail(HTTPStatus.FORBIDDEN, "this server does not go by the name that was asked for")
        return False

    def _route(self) -> None:
        """Answer a request by its path, of which the first part is the secret of this server."""
        if not self._is_allowed():
            return
        first, *parts = [unquote(part) for part in self.path.partition("?")[0].split("/")[1:]] or [""]
        if not secrets.compare_digest(first.encode(), self.server.token.encode()):
            self._fail(HTTPStatus.NOT_FOUND, "nothing is served here")
            return
        base = f"http://{self.headers['Host']}/{self.server.token}"
        match parts:
            case [""]:
                place = f"v/view/#!{base}/state.json"
                self._send(HTTPStatus.FOUND, {"Location": place, "Content-Length": "0"})
            case ["state.json"]:
                state = json.dumps(self.server.state(f"{base}/data"))
                self._send_bytes(state.encode(), {"Content-Type": "application/json"})
            case ["events", _]:
                self._stay_in_touch()
            case ["v", _, *name]:
                self._send_stored(self.server.client, name if any(name) else ["index.html"])
            case ["data", number, *name] if number in map(str, range(len(self.server.folders))):
                self._send_stored(self.server.folders[int(number)], name)
            case _:
                self._fail(HTTPStatus.NOT_FOUND, "nothing is served here")

    def _send_stored(self, folder: Path, name: Sequence[str]) -> None:
        found = stored(folder, name)
        if found is None:
            self._fail(HTTPStatus.NOT_FOUND, "there is no such file")
            return
        file, encoding = found
        kind = {"Content-Type": _TYPES.get(Path(name[-1]).suffix, _ANY)}
        if not encoding:
            self._send_file(file, kind)
        elif encoding in re.findall(r"[\w*-]+", self.headers.get("Accept-Encoding", "")):
            self._send_bytes(file.read_bytes(), {**kind, "Content-Encoding": encoding, "Vary": "Accept-Encoding"})
        else:
            self._send_bytes(_DECODERS[encoding](file.read_bytes()), {**kind, "Vary": "Accept-Encoding"})

    def _send_file(self, file: Path, headers: dict[str, str]) -> None:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            span = asked_range(self.headers.get("Range", ""), size)
            part = {**headers, "Accept-Ranges": "bytes"}
            if span is None:
                start, stop = 0, size
                self._send(HTTPStatus.OK, {**part, "Content-Length": str(size)})
            elif span[0] >= span[1]:
                self._fail(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "", {"Content-Range": f"bytes */{size}"})
                return
            else:
                start, stop = span
                part["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
                self._send(HTTPStatus.PARTIAL_CONTENT, {**part, "Content-Length": str(stop - start)})
            if self.command == "GET" and stop > start:
                sent = self.connection.sendfile(stream, start, stop - start)
                self.close_connection |= sent < stop - start  # a file that became shorter: the rest cannot be sent

    def _send_bytes(self, body: bytes, headers: dict[str, str]) -> None:
        self._send(HTTPStatus.OK, {**headers, "Content-Length": str(len(body))})
        if self.command == "GET":
            self.wfile.write(body)

    def _stay_in_touch(self) -> None:
        """Hold the line: the client tells its user when it breaks."""
        self.close_connection = True
        self._send(HTTPStatus.OK, {"Content-Type": "text/event-stream", "Connection": "close"})
        if self.command == "GET":
            self.wfile.write(b":\n\n")
            while not self.server.stopped.wait(_ALIVE_S):
                self.wfile.write(b":\n\n")

    def _fail(self, status: HTTPStatus, why: str, headers: dict[str, str] | None = None) -> None:
        body = f"{why}\n".encode()
        self._send(status, {"Content-Type": "text/plain", "Content-Length": str(len(body)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self._is_answered = True
        self.send_response(status)
        for name, value in {**headers, **_SHARED, "Cache-Control": "no-cache"}.items():
            self.send_header(name, value)
        self.end_headers()


def stored(folder: Path, name: Sequence[str]) -> tuple[Path, str] | None:
    """The file that holds what ``name`` stands for, and its encoding (``""``, ``gzip``, ``br``); None without one.

    Parameters
    ----------
    folder
        A folder, its links resolved.
    name
        Folders and file name below ``folder``.

    Raises
    ------
    OutsideError
        If a link leads out of the folder.
    OSError
        If it cannot be told whether there is a file.
    """
    if not name or not all(map(_is_plain, name)):
        return None
    names = [list(name)]
    if _CHUNK.fullmatch(name[-1]):
        names.append([*name[:-1], *name[-1].split("_")])
    for parts, (suffix, encoding) in itertools.product(names, _ENCODINGS):
        place = folder.joinpath(*parts[:-1], parts[-1] + suffix)
        try:
            file = place.resolve(strict=True)
        except (FileNotFoundError, NotADirectoryError):
            if place.is_symlink():  # the file was somewhere: what is lost is not empty
                raise
            continue
        if not file.is_relative_to(folder):
            raise OutsideError(f"{'/'.join(parts)} leads to a file outside the folder that is served")
        if file.is_file():
            return file, encoding
    return None


def asked_range(header: str, size: int) -> tuple[int, int] | None:
    """Bytes (start, stop) of ``size`` that a Range header asks for; None for all; empty if there are no such bytes."""
    match = _RANGE.fullmatch(header.strip())
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    stop = min(size, int(match[2]) + 1) if match[2] else size
    return None if match[2] and int(match[2]) < int(match[1]) else (int(match[1]), stop)


def _is_plain(part: str) -> bool:
    """Whether a part of a path names an entry of its folder, on every system."""
    return part not in ("", ".", "..") and not set(part) & set("/\\:\0")


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refused(address: str, port: int, error: Exception) -> ParameterError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return ParameterError(f"`port` {port} of {address} is in use; choose another, or 0 for any that is free")
    if number == errno.EACCES:
        return ParameterError(f"`port` {port} needs rights that you do not have; choose one above 1023")
    return ParameterError(f"`address` {address!r} cannot be served on: {error}; 127.0.0.1 always can")
