"""The server of the page: what it serves, to whom, and what it obeys."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gossiptrain.errors import PortInUseError
from gossiptrain.monitor.page import server as server_module
from gossiptrain.monitor.page.place import LOOPBACK, Place
from gossiptrain.monitor.page.server import FILES, HEADERS, KEY_HEADER, LARGEST_ORDER_BYTES, MOST_AT_ONCE, PageServer

HERE = Place(LOOPBACK, (0,))
KEY = "a-key"


@contextmanager
def serving(snapshot: Callable[[], Any] = lambda: {"run": "x"}, **more: Any) -> Iterator[PageServer]:
    server = PageServer(HERE, snapshot, **more)
    try:
        yield server
    finally:
        server.close()


def ask(
    server: PageServer,
    path: str = "/",
    headers: dict[str, str] | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=10)
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_it_serves_the_page_the_swarm_and_nothing_else() -> None:
    with serving() as server:
        for path, (_, kind) in FILES.items():
            answer, content = ask(server, path)
            assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
            assert content
        answer, content = ask(server, "/swarm.json")
        assert json.loads(content) == {"run": "x", "orders": False}
        for path in ("/../server.py", "/files/page.js", "/%2e%2e/rows.py", "//etc/passwd", "/swarm", "/kill"):
            assert ask(server, path)[0].status == 404


def test_every_answer_forbids_what_a_page_of_this_kind_never_needs() -> None:
    with serving() as server:
        for path in (*FILES, "/swarm.json", "/nothing"):
            answer, _ = ask(server, path)
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert "Python" not in answer.headers.get("Server", "")
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_page_loads_nothing_from_elsewhere_and_makes_no_html_of_text() -> None:
    with serving() as server:
        for path in FILES:
            text = ask(server, path)[1].decode().replace("http://www.w3.org/2000/svg", "")
            assert "http:" not in text
            assert "https:" not in text
            for word in (
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                'style="',
                "onclick",
            ):
                assert word not in text, path


def test_foreign_names_and_foreign_methods_are_refused() -> None:
    with serving() as server:
        assert ask(server, "/swarm.json", headers={"Host": "evil.example"})[0].status == 421
        assert ask(server, "/kill", method="POST", body=b"{}", headers={"Host": "evil.example"})[0].status == 421
        for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
            assert ask(server, "/", method=method)[0].status == 501


def test_a_snapshot_is_made_when_somebody_looks_and_then_for_all_of_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def snapshot() -> dict[str, int]:
        made.append(1)
        return {"number": len(made)}

    monkeypatch.setattr(server_module, "FRESH_S", 1e9)
    with serving(snapshot) as server:
        ask(server, "/")
        assert made == []
        assert [json.loads(ask(server, "/swarm.json")[1])["number"] for _ in range(3)] == [1, 1, 1]
        monkeypatch.setattr(server_module, "FRESH_S", 0.0)
        assert json.loads(ask(server, "/swarm.json")[1])["number"] == 2


def test_orders_need_the_key_which_stands_only_behind_the_hash() -> None:
    obeyed: list[tuple[str, str]] = []

    def order(what: str, whom: str) -> bool:
        obeyed.append((what, whom))
        return whom != "gone"

    with serving(order=order, key=KEY) as server:
        assert server.url.endswith(f"/#key={KEY}")
        body = json.dumps({"peer": "b"}).encode()

        def posted(path: str = "/kill", *, body: bytes = body, key: str | None = None) -> int:
            headers = {} if key is None else {KEY_HEADER: key}
            return ask(server, path, headers, method="POST", body=body)[0].status

        assert posted() == 403
        assert posted(key="another") == 403
        assert posted(f"/kill?key={KEY}") == 404
        assert ask(server, "/kill", {KEY_HEADER: KEY})[0].status == 404, "nothing happens by GET"
        assert obeyed == []
        assert posted(key=KEY) == 204
        assert posted("/add", body=b"{}", key=KEY) == 204
        assert posted(body=b'{"peer": "gone"}', key=KEY) == 409
        assert obeyed == [("kill", "b"), ("add", ""), ("kill", "gone")]
        for bad in (b"", b"[]", b"nonsense", b'{"peer": 3}', b"[" * 1000):
            assert posted(body=bad, key=KEY) == 400
        assert posted(body=b" " * (LARGEST_ORDER_BYTES + 1), key=KEY) == 413
        assert KEY not in ask(server, "/")[1].decode() + ask(server, "/swarm.json")[1].decode()


def test_without_orders_there_is_nothing_to_obey() -> None:
    with serving() as server:
        assert "#" not in server.url
        assert ask(server, "/kill", method="POST", body=b"{}", headers={KEY_HEADER: ""})[0].status == 404


def test_many_that_connect_and_say_nothing_leave_the_rest_of_the_process_alone() -> None:
    with serving() as server:
        silent = [socket.create_connection((LOOPBACK, server.port)) for _ in range(MOST_AT_ONCE + 4)]
        for each in silent:
            each.close()
        while True:  # until their threads have seen that they are gone
            try:
                assert ask(server, "/swarm.json")[0].status == 200
                break
            except (ConnectionError, http.client.HTTPException):
                continue


def test_it_can_be_reached_by_ipv6_where_this_computer_has_it() -> None:
    if not socket.has_ipv6:
        pytest.skip("this Python knows no IPv6")
    try:
        server = PageServer(Place("::1", (0,)), dict)
    except PortInUseError:
        pytest.skip("this computer has no IPv6")
    connection = http.client.HTTPConnection("::1", server.port, timeout=10)
    connection.request("GET", "/swarm.json")
    assert connection.getresponse().status == 200
    connection.close()
    server.close()


def test_a_port_that_is_taken_is_named_and_the_next_one_is_tried_where_none_was_named() -> None:
    with serving() as server:
        with pytest.raises(PortInUseError, match=str(server.port)):
            PageServer(Place(LOOPBACK, (server.port,)), dict)
        other = PageServer(Place(LOOPBACK, (server.port, 0)), dict)
        assert other.port != server.port
        other.close()
    with pytest.raises(PortInUseError) as elsewhere:
        PageServer(Place("192.0.2.1", (0,)), dict)
    assert "no address of this computer" in elsewhere.value.cause
