"""Where a page is, and by which names a browser may call it."""

from __future__ import annotations

import pytest

from gossiptrain.errors import UsageError
from gossiptrain.monitor.page.place import LOOPBACK, Place, is_place


@pytest.mark.parametrize(
    ("text", "host", "port", "here"),
    [
        ("8484", LOOPBACK, 8484, True),
        ("0", LOOPBACK, 0, True),
        ("localhost:80", "localhost", 80, True),
        ("[::1]:9000", "::1", 9000, True),
        ("0.0.0.0:9000", "0.0.0.0", 9000, False),
        ("192.0.2.7:9000", "192.0.2.7", 9000, False),
        ("my-host.example:9000", "my-host.example", 9000, False),
    ],
)
def test_a_port_is_for_this_computer_and_a_host_for_others(text: str, host: str, port: int, here: bool) -> None:
    place = Place.parse(text)
    assert is_place(text)
    assert (place.host, place.ports, place.is_here_alone) == (host, (port,), here)


@pytest.mark.parametrize(
    "text", ["", "x", "70000", "1:2:3", "http://127.0.0.1:80", "/ip4/127.0.0.1/tcp/1", "-1", "a b:1"]
)
def test_nothing_else_is_a_place(text: str) -> None:
    with pytest.raises(UsageError):
        Place.parse(text)


def test_an_address_is_found_by_a_browser_of_this_computer() -> None:
    assert Place.parse("8484").url(8484) == "http://127.0.0.1:8484/"
    assert Place.parse("0.0.0.0:0").url(77) == "http://127.0.0.1:77/"
    assert Place.parse("[::]:0").url(77) == "http://[::1]:77/"
    assert Place.parse("[::1]:0").url(77) == "http://[::1]:77/"


@pytest.mark.parametrize("host", ["127.0.0.1:8484", "localhost:8484", "LOCALHOST", "[::1]:8484", "[::1]", "127.0.0.1"])
def test_this_computer_may_call_it_by_its_own_names(host: str) -> None:
    assert Place.parse("8484").may_be_called(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:8484",
        "127.0.0.1.evil.example",
        "192.0.2.7:8484",
        "localhost.evil",
        "x" * 999,
    ],
)
def test_a_name_that_was_made_to_lead_here_is_refused(host: str | None) -> None:
    assert not Place.parse("8484").may_be_called(host)


def test_one_that_is_open_to_others_is_called_by_a_number_or_by_the_name_it_was_given() -> None:
    place = Place.parse("my-host.example:8484")
    assert place.may_be_called("my-host.example:8484")
    assert place.may_be_called("192.0.2.7:8484")
    assert not place.may_be_called("evil.example:8484")
