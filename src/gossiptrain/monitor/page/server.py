"""Serves the page of a swarm, and what it shows as JSON, to browsers of this computer.

Owns sockets, threads, routes and everything that keeps others out: foreign domains, foreign pages, and whoever has no
key where something can be ordered. A snapshot is made when a page asks for it, and never else. Does not know what is
shown, nor what becomes of an order.
"""

from __future__ import annotations

import errno
import hmac
import json
import logging
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from gossiptrain.errors import PortInUseError
from gossiptrain.monitor.page.place import Place

_logger = logging.getLogger(__package__)
Snapshot = Callable[[], Mapping[str, Any]]
Order = Callable[[str, str], bool]
"""Given what is to be done and to whom; whether that is possible."""
KEY_HEADER = "X-Gossip-Key"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/draw.js": ("draw.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LARGEST_ORDER_BYTES = 1024
MOST_AT_ONCE = 16
SILENCE_S = 5.0
FRESH_S = 0.3
"""A snapshot serves all who ask within so long."""


class PageServer:
    """Serves from its making until `close`, in threads of its own that end with the process."""

    def __init__(self, place: Place, snapshot: Snapshot, *, order: Order | None = None, key: str = "") -> None:
        """order: obeyed only where a request brings `key`. Raises PortInUseError."""
        self._place = place
        self._server = _listening(place, Answers(place, snapshot, order, key))
        self._key = key if order is not None else ""
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="gossiptrain page", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """What a person opens. A key stands behind the `#`, where no server and no log is told of it."""
        url = self._place.url(self.port)
        return f"{url}#key={self._key}" if self._key else url

    def close(self) -> None:
        """May be called twice."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Answers:
    """What requests are answered with."""

    def __init__(self, place: Place, snapshot: Snapshot, order: Order | None, key: str) -> None:
        self.place = place
        self._snapshot = snapshot
        self._order = order
        self._key = key
        self._lock = threading.Lock()
        self._made_s = -float("inf")
        self._body = b""

    def swarm(self) -> bytes:
        """The snapshot as JSON."""
        with self._lock:
            if time.monotonic() - self._made_s >= FRESH_S:
                told = {**self._snapshot(), "orders": self._order is not None}
                self._body = json.dumps(told, separators=(",", ":"), allow_nan=False).encode()
                self._made_s = time.monotonic()
            return self._body

    def obey(self, path: str, body: bytes, key: str | None) -> HTTPStatus:
        """The status of the answer to an order."""
        if self._order is None or path not in ("/kill", "/add"):
            return HTTPStatus.NOT_FOUND
        if not self._key or not hmac.compare_digest((key or "").encode(), self._key.encode()):
            return HTTPStatus.FORBIDDEN
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            return HTTPStatus.BAD_REQUEST
        whom = told.get("peer", "") if isinstance(told, dict) else None
        if not isinstance(whom, str):
            return HTTPStatus.BAD_REQUEST
        return HTTPStatus.NO_CONTENT if self._order(path[1:], whom) else HTTPStatus.CONFLICT


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_AT_ONCE

    def __init__(self, address: tuple[str, int], answers: Answers) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.answers = answers
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__(address, _Request)

    def server_bind(self) -> None:
        """As that of HTTP servers, without asking for the name of this computer, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away in the middle is nobody's mistake."""
        if not isinstance(sys.exception(), OSError):
            _logger.exception("a request for the page could not be answered")


class _Request(BaseHTTPRequestHandler):
    server: _Server
    timeout = SILENCE_S
    server_version = "gossiptrain"
    sys_version = ""

    def do_GET(self) -> None:
        if not self._is_for_us():
            return
        path = self.path.partition("?")[0]
        if path == "/swarm.json":
            self._answer(HTTPStatus.OK, self.server.answers.swarm(), "application/json")
        elif path in FILES:
            name, kind = FILES[path]
            self._answer(HTTPStatus.OK, _file(name), kind)
        else:
            self._answer(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        if not self._is_for_us():
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 9 or int(length) > LARGEST_ORDER_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        body = self.rfile.read(int(length))
        self._answer(self.server.answers.obey(self.path, body, self.headers.get(KEY_HEADER)))

    def _is_for_us(self) -> bool:
        if self.server.answers.place.may_be_called(self.headers.get("Host")):
            return True
        self._answer(HTTPStatus.MISDIRECTED_REQUEST)
        return False

    def _answer(self, status: HTTPStatus, body: bytes = b"", kind: str = "text/plain; charset=utf-8") -> None:
        if status >= HTTPStatus.BAD_REQUEST:
            body = f"{status.value} {status.phrase}\n".encode()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal belongs to the view of the training."""


def _listening(place: Place, answers: Answers) -> _Server:
    """Raises PortInUseError."""
    failure = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    for port in place.ports:
        try:
            return _Server((place.host, port), answers)
        except OSError as error:
            failure = error
            if error.errno != errno.EADDRINUSE:
                break
    raise PortInUseError(
        f"The page cannot be served at {place.host}, port {place.ports[0]}: {failure.strerror or failure}.",
        cause="Another program listens there, or it is no address of this computer.",
        remedy="Choose another one with --page PORT, or leave the port out for any that is free.",
    )


def _file(name: str) -> bytes:
    return resources.files("gossiptrain.monitor.page").joinpath("files", name).read_bytes()
