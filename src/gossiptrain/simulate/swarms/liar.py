"""A member that says and answers whatever the words of the protocol allow, each field at its ends.

Owns what it says, and when. Does not know what honest peers do about it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

from gossiptrain.config import TimingSettings
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.errors import GossipError
from gossiptrain.net.direct import messages as direct_messages
from gossiptrain.net.framing import Message, decode_message, encode_message, read_frame, write_frame
from gossiptrain.net.transport import PeerId, Stream, Transport
from gossiptrain.simulate.swarms.extremes import extremes, messages_of
from gossiptrain.swarm import messages, recipe_messages, state_messages, status_messages
from gossiptrain.swarm.access.private import PrivateAccess
from gossiptrain.swarm.admission import HELLO, Admission
from gossiptrain.swarm.contribution import EXCHANGE
from gossiptrain.swarm.coordinator import READY
from gossiptrain.swarm.dissemination import HEARTBEATS
from gossiptrain.swarm.messages import Heartbeat, HeartbeatBatch, HeartbeatSummary, SignedHeartbeat
from gossiptrain.swarm.own_heartbeat import signed
from gossiptrain.swarm.reporting import REPORT
from gossiptrain.swarm.silence import PROBE
from gossiptrain.swarm.state import STATE
from gossiptrain.swarm.status import STATUS
from gossiptrain.swarm.versions import key_of

PROTOCOLS = (HELLO, HEARTBEATS, READY, EXCHANGE, REPORT, PROBE, STATE, STATUS)
KINDS = messages_of(messages, recipe_messages, state_messages, status_messages, direct_messages)
FAR_S = 0.05
"""How long an answer is waited for."""
PAUSE_S = 0.5
FRAME_LIMIT_BYTES = 1 << 30


def ordinary_heartbeat(peer: str, *, run_key: str, counter: int, addresses: Sequence[str]) -> Heartbeat:
    """That of a trainer which has just begun."""
    return Heartbeat(
        peer=peer,
        run_key=run_key,
        incarnation=1,
        counter=counter,
        role="trainer",
        addresses=tuple(addresses),
        round=0,
        step=0,
        ready_in_s=None,
        joined=True,
        finishing=False,
        leaving=False,
    )


class Liar:
    """A member, truly of the run, that lies."""

    def __init__(
        self,
        transport: Transport,
        fingerprint: RunFingerprint,
        timing: TimingSettings,
        access: PrivateAccess | None = None,
    ) -> None:
        """access: what makes it a member of a private swarm."""
        self.transport = transport
        self.admission = Admission(transport, fingerprint, timing=timing, access=access)
        self._fingerprint = fingerprint
        self._counter = count(1)

    @property
    def id(self) -> PeerId:
        """Its peer id."""
        return self.transport.peer_id

    async def open(self) -> None:
        """From now on answers handshakes, honestly."""
        await self.admission.open()

    def heartbeat(self, **changes: Any) -> Heartbeat:
        """An ordinary one, but for the changes."""
        number = next(self._counter)
        usual = ordinary_heartbeat(
            self.id, run_key=self._fingerprint.key, counter=number, addresses=self.transport.addresses
        )
        return Heartbeat.model_validate(usual.model_dump() | changes)

    def own_heartbeats(self) -> Iterable[Heartbeat]:
        """Truly signed ones with every field at its ends."""
        fixed = {"peer": self.id, "run_key": self._fingerprint.key, "incarnation": 1, "counter": 1, "leaving": False}
        for message in extremes(Heartbeat, **fixed):
            assert isinstance(message, Heartbeat)
            yield message.model_copy(update={"counter": next(self._counter)})

    def signed(self, heartbeat: Heartbeat) -> SignedHeartbeat:
        """As it travels."""
        return signed(heartbeat, self.transport)

    async def say(self, peer: PeerId, protocol: str, message: Message) -> None:
        """Says it, hears a word of the answer if there is one soon, and breaks off."""
        try:
            stream = await self.transport.open_stream(peer, protocol)
        except ConnectionError:
            return
        try:
            async with self.transport.clock.timeout(FAR_S):
                await write_frame(stream, encode_message(message), limit_bytes=FRAME_LIMIT_BYTES)
                await read_frame(stream, limit_bytes=FRAME_LIMIT_BYTES)
        except (ConnectionError, TimeoutError):
            pass
        finally:
            stream.abort()

    async def beat(self, peer: PeerId, heartbeat: Heartbeat) -> None:
        """Passes on its own heartbeat alone."""
        await self.say(peer, HEARTBEATS, HeartbeatSummary(own=self.signed(heartbeat), versions={}, most_unknown=0))

    async def pass_on(self, peer: PeerId, records: Sequence[SignedHeartbeat]) -> None:
        """Passes on these heartbeats of others, wanted or not."""
        stream = await self.transport.open_stream(peer, HEARTBEATS)
        try:
            heartbeats = [decode_message(record.body.encode(), Heartbeat) for record in records]
            versions = {key_of(PeerId(heartbeat.peer)): heartbeat.version for heartbeat in heartbeats}
            own = self.signed(self.heartbeat())
            for message in (
                HeartbeatSummary(own=own, versions=versions, most_unknown=0),
                HeartbeatBatch(records=tuple(records)),
            ):
                await write_frame(stream, encode_message(message), limit_bytes=FRAME_LIMIT_BYTES)
            await read_frame(stream, limit_bytes=FRAME_LIMIT_BYTES)
        finally:
            await stream.close()

    async def answer_with(self, protocol: str, answer: Callable[[], Message]) -> None:
        """From now on answers whatever is said on the protocol with a message of its choice."""

        async def lie(stream: Stream) -> None:
            await read_frame(stream, limit_bytes=FRAME_LIMIT_BYTES)
            await write_frame(stream, encode_message(answer()), limit_bytes=FRAME_LIMIT_BYTES)

        await self.transport.serve(protocol, lie)

    async def live(self, addresses: Callable[[], Sequence[str]], rng: random.Random) -> None:
        """Gets itself admitted by everybody and lies to everybody, until cancelled. addresses: of living peers."""
        said = [message for kind in KINDS for message in extremes(kind)]
        await self.open()
        for protocol in PROTOCOLS:
            if protocol != HELLO:
                await self.answer_with(protocol, lambda: rng.choice(said))
        heartbeats = list(self.own_heartbeats())
        while True:
            for address in addresses():
                await self._lie_to(address, rng.choice(said), rng.choice(heartbeats), rng)
            await self.transport.clock.sleep(PAUSE_S)

    async def _lie_to(self, address: str, message: Message, extreme: Heartbeat, rng: random.Random) -> None:
        timing = self.admission.timing
        try:
            async with self.transport.clock.timeout(timing.dial_timeout_s):
                peer = await self.transport.connect(address)
            if not self.admission.has_met(peer):
                await self.admission.handshake(peer)
        except (ConnectionError, TimeoutError, GossipError):
            return
        usual = self.heartbeat(ready_in_s=rng.choice((0.0, 1.0, None)))
        lies = rng.random() < 0.5
        await self.beat(peer, extreme.model_copy(update={"counter": usual.counter}) if lies else usual)
        await self.say(peer, rng.choice(PROTOCOLS), message)
