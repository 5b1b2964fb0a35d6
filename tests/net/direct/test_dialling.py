"""Where a node is dialled for a connection, what it is told first, and how long a silent place holds anybody up."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.direct import dialling as direct_dialling
from gossiptrain.net.direct.dialling import DialCredentials, DirectDialler
from gossiptrain.net.direct.messages import (
    MAGIC,
    PREAMBLE_BYTES,
    TOKEN_BYTES,
    NoDirectConnectionError,
    new_token,
    preamble,
    token_in,
)
from gossiptrain.net.direct.sealed_wire import SealedWire, shake_hands
from gossiptrain.net.direct.tls import Engine
from gossiptrain.net.wire import Wire
from tests.net.direct.connection_pairs import LIMIT_S, credentials

HERE = ipaddress.ip_address("127.0.0.1")
TOKEN = bytes.fromhex(new_token())
TICKET = DialCredentials(TOKEN, credentials("bob").certificate)


@contextmanager
def listening() -> Iterator[tuple[socket.socket, int]]:
    """A place that takes connections, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as endpoint:
        endpoint.setblocking(False)
        yield endpoint, endpoint.getsockname()[1]


def run(scenario: Callable[[DirectDialler], Awaitable[None]]) -> None:
    """In the event loop of the nodes; fails where a task is left behind."""

    async def main() -> None:
        async with asyncio.timeout(LIMIT_S):
            await scenario(DirectDialler(credentials("alice")))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def answer(endpoint: socket.socket, name: str) -> tuple[bytes, SealedWire]:
    """Takes one connection under the certificate of that name: what it was told first, and its connection."""
    connection, _ = await asyncio.get_running_loop().sock_accept(endpoint)
    wire = Wire(connection)
    first = await wire.receive_exactly(PREAMBLE_BYTES)
    try:
        engine = Engine(credentials(name), expected=credentials("alice").certificate, server=True)
        return first, await shake_hands(wire, engine)
    except BaseException:
        wire.end()
        raise


def test_the_node_that_is_meant_is_shown_its_token_and_answers() -> None:
    async def scenario(dialler: DirectDialler) -> None:
        with listening() as (endpoint, port):
            (first, there), here = await asyncio.gather(answer(endpoint, "bob"), dialler.dial(HERE, port, TICKET))
        assert token_in(first) == TOKEN.hex()
        here.end()
        there.end()

    run(scenario)


def test_whoever_answers_in_the_place_of_the_node_is_passed_over() -> None:
    async def scenario(dialler: DirectDialler) -> None:
        with listening() as (endpoint, port):
            answering = asyncio.create_task(answer(endpoint, "mallory"))
            with pytest.raises(NoDirectConnectionError, match=r"127\.0\.0\.1: .*not who it should be"):
                await dialler.dial(HERE, port, TICKET)
            await asyncio.wait([answering])
            assert isinstance(answering.exception(), ConnectionError)

    run(scenario)


def test_where_nobody_listens_it_says_so() -> None:
    async def scenario(dialler: DirectDialler) -> None:
        with listening() as (_, port):
            pass
        with pytest.raises(NoDirectConnectionError, match=r"127\.0\.0\.1: .*failed"):
            await dialler.dial(HERE, port, TICKET)

    run(scenario)


def test_a_place_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_dialling, "HANDSHAKE_S", 0.05)

    async def scenario(dialler: DirectDialler) -> None:
        with listening() as (_, port), pytest.raises(NoDirectConnectionError, match="no answer in time"):
            await dialler.dial(HERE, port, TICKET)

    run(scenario)


def test_a_dial_that_is_given_up_leaves_nothing() -> None:
    async def scenario(dialler: DirectDialler) -> None:
        with listening() as (endpoint, port):
            dialling = asyncio.create_task(dialler.dial(HERE, port, TICKET))
            connection, _ = await asyncio.get_running_loop().sock_accept(endpoint)
            wire = Wire(connection)
            await wire.receive_exactly(PREAMBLE_BYTES)
            dialling.cancel()
            await asyncio.wait([dialling])
            with pytest.raises(ConnectionError):
                await wire.receive_exactly(1 << 16)
            wire.end()

    run(scenario)


@given(st.binary(min_size=TOKEN_BYTES, max_size=TOKEN_BYTES))
def test_no_token_makes_the_first_bytes_a_request_of_another_protocol(token: bytes) -> None:
    first = preamble(token)
    assert len(first) == PREAMBLE_BYTES
    assert re.fullmatch(re.escape(MAGIC) + rb"[0-9a-f]*", first), "no line ends, and nothing but digits is its choice"
    assert token_in(first) == token.hex()


@given(st.binary(min_size=PREAMBLE_BYTES, max_size=PREAMBLE_BYTES))
def test_what_begins_otherwise_shows_no_token(first: bytes) -> None:
    assert token_in(first) is None
