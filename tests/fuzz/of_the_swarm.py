"""Decoders of what peers of a swarm say to each other: messages, heartbeats, coded values.

Owns how each is called on any bytes, and valid inputs by the real encoders. Heartbeats are changed and then signed, as
by a member that lies, so that no input ends at the first check.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

import numpy as np

from gossiptrain.cli.options import TABLES
from gossiptrain.cli.recipe import Learnt, Told, check_known
from gossiptrain.config import GossipSettings, NetworkSettings, Settings, TimingSettings, layered
from gossiptrain.core.codecs import PlainCodecName, codec_named
from gossiptrain.core.fingerprint import PROTOCOL_VERSION, RunFingerprint
from gossiptrain.core.modular import Bits, Modular
from gossiptrain.core.partition import Slice
from gossiptrain.errors import GossipError
from gossiptrain.net.direct import connection as direct_connection
from gossiptrain.net.direct import messages as direct_messages
from gossiptrain.net.framing import MESSAGE_LIMIT_BYTES, Message, decode_message, encode_message, receive_one_of
from gossiptrain.net.identity import Identity
from gossiptrain.net.libp2p import dial_back
from gossiptrain.net.virtual.network import VirtualNetwork
from gossiptrain.simulate.swarms.extremes import extremes, messages_of
from gossiptrain.swarm import messages, recipe_messages, state_messages, status_messages
from gossiptrain.swarm.admission import KNOCK_LIMIT_BYTES, Admission
from gossiptrain.swarm.candidates import Candidates
from gossiptrain.swarm.coding import Buffers, UnreadableError
from gossiptrain.swarm.intake import farthest_round
from gossiptrain.swarm.member_table import MemberTable
from gossiptrain.swarm.messages import BEATS_LIMIT_BYTES, Heartbeat, HeartbeatBatch, HeartbeatReply, SignedHeartbeat
from gossiptrain.swarm.near_coding import NearCoding, SpreadEstimate
from gossiptrain.swarm.recipe import RECIPE_LIMIT_BYTES
from gossiptrain.swarm.recipe_messages import Recipe, RecipeReply
from gossiptrain.training.settings import TrainSettings
from tests.fuzz.decoder import BytesStream, Decoder, finished
from tests.fuzz.on_the_network import ADDRESSES
from tests.golden import MODULES

ELEMENTS = 1000
"""Of the chunk that is coded: three blocks of modulo quantisation, and a part of one."""
_LONGEST_SEED = 20_000
RUN = RunFingerprint(PROTOCOL_VERSION, run="run", task="task", model="ab" * 32, elements=ELEMENTS)


def _seeds_of(kinds: Iterable[type[Message]], *, framed: bool = False) -> list[bytes]:
    """Of each kind, messages with their fields at their ends; of the long ones, a few."""
    found = []
    for kind in kinds:
        encoded = sorted({encode_message(message) for message in extremes(kind)}, key=len)
        short = [payload for payload in encoded if len(payload) <= _LONGEST_SEED] or encoded[:1]
        found += short[:: max(1, len(short) // 4)]
    return [len(payload).to_bytes(4, "big") + payload for payload in found] if framed else found


def _named(*names: str) -> tuple[type[Message], ...]:
    kinds = {kind.__name__: kind for kind in messages_of(*MODULES)}
    return tuple(kinds[name] for name in names)


def _messages(
    name: str, kinds: tuple[type[Message], ...], room: str, *, limit_bytes: int = MESSAGE_LIMIT_BYTES
) -> Decoder:
    def decode(data: bytes) -> None:
        message = decode_message(data, *kinds)
        assert decode_message(encode_message(message), *kinds) == message

    return Decoder(name, decode, _seeds_of(kinds), (room, "net/framing.py"), (ConnectionError,), limit_bytes)


def message_groups() -> list[Decoder]:
    """Messages, by who waits for them; none is left out."""
    words = "swarm/messages.py"
    direct = tuple(messages_of(direct_messages, direct_connection))
    groups = {
        "knocks": _named("Knock", "KnockReply"),
        "greetings": _named("Hello", "Welcome"),
        "heartbeats": _named("Heartbeat", "SignedHeartbeat", "HeartbeatSummary", "HeartbeatReply", "HeartbeatBatch"),
    }
    grouped = {kind for kinds in groups.values() for kind in kinds}
    rest = tuple(kind for kind in messages_of(messages) if kind not in grouped)
    limits = {"knocks": KNOCK_LIMIT_BYTES, "heartbeats": BEATS_LIMIT_BYTES}
    return [
        *(
            _messages(f"messages-{name}", kinds, words, limit_bytes=limits.get(name, MESSAGE_LIMIT_BYTES))
            for name, kinds in groups.items()
        ),
        _messages("messages-rounds", rest, words),
        _messages("messages-states", tuple(messages_of(state_messages)), "swarm/state_messages.py"),
        _messages(
            "messages-recipe",
            tuple(messages_of(recipe_messages)),
            "swarm/recipe_messages.py",
            limit_bytes=RECIPE_LIMIT_BYTES,
        ),
        _messages("messages-status", tuple(messages_of(status_messages)), "swarm/status_messages.py"),
        _messages("messages-direct", direct, "net/direct/messages.py"),
        _messages("messages-dial-back", tuple(messages_of(dial_back)), "net/libp2p/dial_back.py"),
    ]


def _frames() -> Decoder:
    kinds = tuple(messages_of(*MODULES))

    def decode(data: bytes) -> None:
        stream = BytesStream(data)
        while stream.left:
            finished(receive_one_of(stream, *kinds))

    return Decoder("frames", decode, _seeds_of(kinds, framed=True), ("net/framing.py",), (ConnectionError,))


_RECORDS: tuple[type[HeartbeatReply] | type[HeartbeatBatch], ...] = (HeartbeatReply, HeartbeatBatch)


class _Listener:
    """A peer of a run that is told heartbeats, and a member that signs whatever it likes."""

    def __init__(self) -> None:
        self.liar = Identity.generate()
        self._network = VirtualNetwork()
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._begin())
        self._counter = 0

    async def _begin(self) -> None:
        transport = self._network.transport("me")
        transport.verify = lambda peer, data, signature: True  # type: ignore[method-assign]  # as signed by whom it names
        timing = TimingSettings()
        self._admission = Admission(transport, RUN, timing=timing)
        candidates = Candidates(random.Random(0), period_s=1.0, lifetime_s=5.0)
        self._table = MemberTable(self._admission, candidates, on_change=lambda change, peer: None)

    def hear(self, records: Iterable[SignedHeartbeat]) -> None:
        self._loop.run_until_complete(self._hear(records))

    async def _hear(self, records: Iterable[SignedHeartbeat]) -> None:
        self._table.absorb(records, told_by=self.liar.peer_id)
        live = self._table.live()
        farthest_round(5, [heartbeat.round for heartbeat in live.values()], lifetime_s=5.0)
        assert len(self._table) <= messages.MAX_KNOWN

    def take_body(self, data: bytes) -> None:
        """The text of a heartbeat, with a signature that nobody has seen."""
        self._counter += 1
        body = data.decode("utf-8", "replace")[:8192]
        self.hear([SignedHeartbeat(body=body, signature=f"{self._counter:0128x}")])

    def take_records(self, data: bytes) -> None:
        """A message with many heartbeats, and a list of revocations."""
        message: HeartbeatReply | HeartbeatBatch = decode_message(data, *_RECORDS)
        self.hear(message.records)
        self._admission.learn_revocations(message.revocations)

    def heartbeats(self) -> list[bytes]:
        """True ones of the liar."""
        fixed = {"peer": self.liar.peer_id, "run_key": RUN.key, "addresses": list(ADDRESSES[:2])}
        return [encode_message(message) for message in extremes(Heartbeat, **fixed)]


def _recipes() -> Decoder:
    """From the answer of a member to settings that hold, as a joiner takes them over."""
    told = Told(None, None, {}, {table: {} for table in TABLES})
    kinds: dict[str, type[Settings]] = {"train": TrainSettings, "gossip": GossipSettings, "network": NetworkSettings}

    def decode(data: bytes) -> None:
        recipe = decode_message(data, RecipeReply).recipe
        if recipe is None:
            return
        check_known(recipe)
        learnt = Learnt("run", recipe, "peer", None)
        learnt.check(told)
        own = {"train": {"task": recipe.task, "variant": learnt.variant or None}}
        settled = {table: layered(kind, own.get(table, {}), learnt.layer(table, told)) for table, kind in kinds.items()}
        for notice in learnt.notices(told, settled):
            assert notice.message.isprintable()

    honest = Recipe(
        task="text",
        variant={"model": "tiny"},
        settings={"gossip.strategy": "diloco", "gossip.every_steps": 25, "train.epochs": 3.0, "network.preset": "wan"},
    )
    seeds = [encode_message(RecipeReply(recipe=recipe)) for recipe in (honest, None)]
    return Decoder("recipes", decode, seeds, ("cli/recipe.py",), (ConnectionError, GossipError), RECIPE_LIMIT_BYTES)


def _heartbeats() -> list[Decoder]:
    listener = _Listener()
    bodies = listener.heartbeats()
    records = [SignedHeartbeat(body=body.decode(), signature="ab" * 64) for body in bodies]
    replies = [HeartbeatReply(records=tuple(records[:count]), wanted=()) for count in (1, 3)]
    rooms = ("swarm/member_table.py", "swarm/intake.py", "swarm/candidates.py")
    return [
        Decoder("heartbeats-signed", listener.take_body, bodies, rooms, limit_bytes=8192),
        Decoder(
            "heartbeats-passed-on",
            listener.take_records,
            [encode_message(reply) for reply in replies],
            rooms,
            raises=(ConnectionError,),
            limit_bytes=BEATS_LIMIT_BYTES,
        ),
    ]


def _sized(data: bytes, size_bytes: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Of the length that is read whatever is sent."""
    return np.frombuffer(data[:size_bytes].ljust(size_bytes, b"\0"), np.uint8)


def _values() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=ELEMENTS).astype(np.float32)


def _codec(name: PlainCodecName) -> Decoder:
    codec, values = codec_named(name), _values()
    coded = np.empty(codec.size_bytes(ELEMENTS), np.uint8)
    codec.encode(values, coded)
    target = np.empty(ELEMENTS, np.float32)

    def decode(data: bytes) -> None:
        codec.decode(_sized(data, len(coded)), target)

    return Decoder(f"values-{name}", decode, [coded.tobytes()], ("core/codecs.py",), limit_bytes=len(coded))


def _near_codec(name: str, bits: Bits) -> Decoder:
    values = _values()
    chunk, modular = Slice(0, ELEMENTS), Modular(ELEMENTS, bits=bits)
    spread = SpreadEstimate(ELEMENTS)
    spread.note(chunk, np.full(4, 0.1, np.float32))
    coding = NearCoding(Buffers(values, np.empty_like(values)), modular, [chunk], spread=spread, seed=1)
    sent = bytes(coding.contribution(chunk, coding.scratch(ELEMENTS)))

    def decode(data: bytes) -> None:
        scratch = coding.scratch(ELEMENTS)
        scratch.wire[: len(sent)] = _sized(data, len(sent))
        coding.contributed(chunk, scratch)
        coding.take_mean(chunk, scratch)

    rooms = ("core/modular.py", "swarm/near_coding.py")
    return Decoder(f"values-{name}", decode, [sent], rooms, (UnreadableError,), len(sent))


def decoders() -> list[Decoder]:
    """All of this file."""
    plain: tuple[PlainCodecName, ...] = ("fp32", "fp16", "bf16")
    return [
        _frames(),
        *message_groups(),
        _recipes(),
        *_heartbeats(),
        *(_codec(name) for name in plain),
        _near_codec("int8", 8),
        _near_codec("int4", 4),
    ]
