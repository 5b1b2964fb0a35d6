"""Two sides that call each other at once get one connection; through routers: `tests/benchmarks/test_nat.py`."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import pytest

from gossiptrain.net.direct import punching
from gossiptrain.net.direct.punching import Hole

HERE = ipaddress.ip_address("127.0.0.1")
ELSEWHERE = ipaddress.ip_address("127.0.0.2")
NOBODY = 9
"""A port at which nothing listens."""


async def are_joined(one: socket.socket, other: socket.socket) -> bool:
    """Whether what one end says arrives at the other."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(one, b"word")
    return await asyncio.wait_for(loop.sock_recv(other, 4), 5.0) == b"word"


def test_both_call_and_have_a_connection() -> None:
    async def main() -> None:
        for _ in range(20):
            with Hole(4) as alice, Hole(4) as bob:
                one, other = await asyncio.gather(alice.opened(HERE, bob.port), bob.opened(HERE, alice.port))
            with one, other:
                assert one.getpeername()[1] == bob.port
                assert other.getpeername()[1] == alice.port

    asyncio.run(main())


@pytest.mark.parametrize("knows", ["one", "other"])
def test_one_side_that_knows_the_port_of_the_other_is_enough(knows: str) -> None:
    async def main() -> None:
        with Hole(4) as alice, Hole(4) as bob:
            ports = (bob.port, NOBODY) if knows == "one" else (NOBODY, alice.port)
            one, other = await asyncio.gather(alice.opened(HERE, ports[0]), bob.opened(HERE, ports[1]))
        with one, other:
            assert await are_joined(one, other)
            assert await are_joined(other, one)

    asyncio.run(main())


def test_one_that_is_called_before_it_calls_is_called_again() -> None:
    async def main() -> None:
        with Hole(4) as alice, Hole(4) as bob:
            bob._listening.close()  # as a router that does not let it in yet
            calling = asyncio.create_task(alice.opened(HERE, bob.port))
            await asyncio.sleep(0.3)
            assert not calling.done()
            other = await bob._connected(HERE, alice.port)
            with await calling as one, other:
                assert await are_joined(one, other)

    asyncio.run(main())


def test_somebody_else_that_calls_is_not_taken_for_the_other_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(punching, "PUNCH_S", 0.5)

    async def main() -> None:
        with Hole(4) as alice, socket.create_connection(("127.0.0.1", alice.port)) as stranger:
            with pytest.raises(TimeoutError):
                await alice.opened(ELSEWHERE, NOBODY)
            assert stranger.recv(1) == b""

    asyncio.run(main())


def test_where_there_is_no_way_the_port_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(punching, "PUNCH_S", 0.3)

    async def main() -> None:
        with Hole(4) as alice, pytest.raises(TimeoutError):
            await alice.opened(HERE, NOBODY)
        with socket.create_server(("127.0.0.1", alice.port)):
            pass

    asyncio.run(main())


def test_it_works_over_version_6_as_well() -> None:
    async def main() -> None:
        with Hole(6) as alice, Hole(6) as bob:
            here = ipaddress.ip_address("::1")
            one, other = await asyncio.gather(alice.opened(here, bob.port), bob.opened(here, alice.port))
        with one, other:
            assert one.getpeername()[1] == bob.port

    if not socket.has_ipv6:
        pytest.skip("this computer has no IPv6")
    asyncio.run(main())
