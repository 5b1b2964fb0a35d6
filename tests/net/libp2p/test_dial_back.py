"""Whether others can dial a peer: who is dialled for that, what is told, and what several answers mean."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

import pytest

from gossiptrain.net.framing import call
from gossiptrain.net.libp2p.dial_back import (
    ASK_EVERY_S,
    DIAL_BACK,
    GREETING,
    DialBack,
    Dialled,
    DialMe,
    Seen,
    Verdict,
    _answering,
    judged,
)
from gossiptrain.net.listener import IpAddress
from gossiptrain.net.transport import Stream
from tests.transports import MakeTransport, run_on

HERE, PUBLIC = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("8.8.4.4")
NEAR = ipaddress.ip_address("192.168.1.7")


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ([], "unknown"),
        ([Seen(PUBLIC, 4011, is_own=True)], "open"),
        ([Seen(PUBLIC, 0, is_own=False)], "closed"),
        ([Seen(PUBLIC, 4011, is_own=False)], "translated"),
        ([Seen(PUBLIC, 4011, is_own=False), Seen(PUBLIC, 0, is_own=False)], "closed"),
        ([Seen(NEAR, 4011, is_own=True)], "near"),
        ([Seen(NEAR, 4011, is_own=True), Seen(PUBLIC, 0, is_own=False)], "closed"),
        ([Seen(NEAR, 0, is_own=False)], "unknown"),
    ],
)
def test_what_answers_mean(answers: Sequence[Seen], verdict: Verdict) -> None:
    assert judged(answers) == verdict


def asked(host: IpAddress | None, *, times: int = 1, pause_s: float = 0.0) -> tuple[list[Dialled], list[IpAddress]]:
    """What a peer is answered that is seen to call from `host`, and whom the other one has dialled for it."""
    dialled: list[IpAddress] = []

    async def note(found: IpAddress, ports: tuple[int, ...]) -> int:
        """In place of dialling: on the network in memory there are no sockets."""
        dialled.append(found)
        return ports[0]

    async def scenario(make: MakeTransport) -> list[Dialled]:
        alice, bob = await make("alice"), await make("bob")
        await DialBack(bob, lambda stream: host).serve()
        await alice.connect(bob.addresses[0])
        found = []
        for _ in range(times):
            request = DialMe(ports=(4011, 4012))
            found.append(await call(alice, bob.peer_id, protocol=DIAL_BACK, request=request, reply_kind=Dialled))
            await alice.clock.sleep(pause_s)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gossiptrain.net.libp2p.dial_back._answering", note)
        return run_on("virtual", scenario), dialled


def test_who_asks_is_dialled_where_it_is_seen_and_nowhere_else() -> None:
    assert asked(PUBLIC) == ([Dialled(host=str(PUBLIC), port=4011)], [PUBLIC])


def test_who_comes_through_a_relay_is_not_dialled() -> None:
    assert asked(None) == ([Dialled(host="", port=0)], [])


def test_who_asks_again_and_again_is_dialled_now_and_then() -> None:
    assert len(asked(PUBLIC, times=5, pause_s=0.1)[1]) == 1
    assert len(asked(PUBLIC, times=3, pause_s=ASK_EVERY_S)[1]) == 3


def test_whoever_answers_nonsense_or_nothing_tells_nothing() -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await make("alice"), await make("bob")
        asking = DialBack(alice, lambda stream: None)
        await alice.connect(bob.addresses[0])
        assert await asking.ask(bob.peer_id) is None, "it does not speak this protocol"

        async def talk_nonsense(stream: Stream) -> None:
            await stream.write(b"\xff" * 64)

        async def say_nothing(stream: Stream) -> None:
            await stream.wait_for_end()

        for handler in (talk_nonsense, say_nothing):
            await bob.serve(DIAL_BACK, handler)
            assert await asking.ask(bob.peer_id) is None
        assert await asking.verdict([bob.peer_id]) == "unknown"

    run_on("virtual", scenario)


def test_only_what_greets_as_a_libp2p_peer_does_is_told_of() -> None:
    async def main() -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(GREETING)
            writer.close()

        async def say_other_things(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example.org ESMTP ready for you\r\n")
            writer.close()

        servers = [await asyncio.start_server(handler, "127.0.0.1", 0) for handler in (say_other_things, greet)]
        ports = [int(server.sockets[0].getsockname()[1]) for server in servers]
        assert await _answering(HERE, ports[:1]) == 0
        assert await _answering(HERE, ports) == ports[1]
        for server in servers:
            server.close()
        await asyncio.sleep(0)
        assert await _answering(HERE, ports[1:]) == 0, "nothing listens any more"

    asyncio.run(main())
