"""A private swarm tells a stranger that it is one, and nothing else; whatever the stranger shows, says or opens."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest

from gossiptrain.config import GossipSettings
from gossiptrain.core.fingerprint import PROTOCOL_VERSION
from gossiptrain.errors import NotAdmittedError
from gossiptrain.net.direct.connections import DIRECT
from gossiptrain.net.framing import decode_message, encode_message, read_frame, write_frame
from gossiptrain.net.transport import PeerId, Stream, Transport, UnreachableError
from gossiptrain.swarm.access.link import InviteLink
from gossiptrain.swarm.access.private import KNOCK_BYTES, PrivateAccess
from gossiptrain.swarm.access.secret import SwarmSecret
from gossiptrain.swarm.access.tokens import CREDENTIAL_BYTES, Credential, digest_of, new_seed
from gossiptrain.swarm.admission import HELLO, KNOCK_LIMIT_BYTES, Admission
from gossiptrain.swarm.contribution import EXCHANGE
from gossiptrain.swarm.coordinator import READY
from gossiptrain.swarm.dissemination import HEARTBEATS
from gossiptrain.swarm.intake import ENTRY_ADDRESSES
from gossiptrain.swarm.messages import ExchangeHeader, Hello, Knock, KnockReply, Probe, Ready
from gossiptrain.swarm.recipe import RECIPE
from gossiptrain.swarm.recipe_messages import RecipeRequest
from gossiptrain.swarm.rendezvous import Rendezvous
from gossiptrain.swarm.reporting import REPORT
from gossiptrain.swarm.silence import PROBE
from gossiptrain.swarm.state import STATE
from gossiptrain.swarm.state_messages import StateRequest
from gossiptrain.swarm.status import STATUS
from gossiptrain.swarm.status_messages import StatusRequest
from tests.swarm.founders import DAY_S, NOW_S, Founder, changed
from tests.swarm.swarms import TIMING, Swarm, TestPeer, fingerprint
from tests.transports import Kind, MakeTransport, on_both_transports, run_on

LIMIT_BYTES = 1 << 20
GENEROUS_S = 20.0
AFTERWARDS_S = 0.1
"""How long more is waited for where something was said."""
RUN = fingerprint(run="the name of the run", task="the task")
SECRETS = (b"the name of the run", b"the task", b"ab" * 32)
"""What no stranger may read anywhere."""


@dataclass
class Stage:
    """A swarm of two, a stranger that knows all addresses, and what the stranger can have got hold of."""

    founder: Founder
    swarm: Swarm
    stranger: Transport
    link: InviteLink
    used_up: InviteLink
    said_by_member: bytes
    """What a member has shown to the stranger, which it had taken for another member."""

    @property
    def victim(self) -> TestPeer:
        return self.swarm.peers["a"]

    def sealed(self, credential: bytes, *, by: bytes | None = None, direction: bytes = b"knock") -> bytes:
        """As a peer seals it that knows the secret, or another one."""
        context = direction + digest_of(self.stranger.peer_id) + digest_of(self.victim.id)
        return SwarmSecret(by or self.founder.secret).seal(credential, context)

    def showing(self, credential: Credential) -> bytes:
        return knock(self.sealed(credential.encode()))

    def invited(self, **changes: object) -> Credential:
        """That of the stranger with a link of this kind."""
        return self.founder.link(**changes).credential(self.stranger.peer_id)


def knock(
    shown: bytes, *, protocol: int = PROTOCOL_VERSION, kind: Literal["private", "open", "visitor"] = "private"
) -> bytes:
    # As it is written on the wire, whatever a well-behaved peer would think of it.
    return encode_message(Knock.model_construct(protocol=protocol, kind=kind, shown=shown))


def hello() -> bytes:
    fields = {"protocol": PROTOCOL_VERSION, "run": RUN.run, "task": RUN.task, "model": RUN.model}
    return encode_message(Hello(**fields, elements=RUN.elements, strategy=RUN.strategy))  # type: ignore[arg-type]


def of_another_swarm(stage: Stage) -> bytes:
    other = Founder()
    return knock(stage.sealed(other.link().credential(stage.stranger.peer_id).encode(), by=other.secret))


def of_another_authority(stage: Stage) -> bytes:
    return stage.showing(Founder().link().credential(stage.stranger.peer_id))


def claiming_another_authority(stage: Stage) -> bytes:
    credential = Founder().link().credential(stage.stranger.peer_id)
    return stage.showing(changed(credential, swarm=stage.founder.swarm))


def revoked_peer(stage: Stage) -> bytes:
    credential = stage.founder.link().credential(stage.stranger.peer_id)
    revoke(stage, digest_of(stage.stranger.peer_id))
    return stage.showing(credential)


def revoked_invite(stage: Stage) -> bytes:
    link = stage.founder.link()
    revoke(stage, link.invite.key)
    return stage.showing(link.credential(stage.stranger.peer_id))


def revoked_origin(stage: Stage) -> bytes:
    """What the authority once gave it in place of an invite that is revoked now."""
    link = stage.founder.link()
    revoke(stage, link.invite.key)
    return stage.showing(stage.founder.authority.credential_for(stage.stranger.peer_id, origin=link.invite.key))


def revoke(stage: Stage, entry: bytes) -> None:
    access = stage.victim.swarm.admission.access
    assert access is not None
    assert access.learn(stage.founder.revoking(entry, before=access.revocations).encode())


def non_canonical(stage: Stage) -> bytes:
    """A signature of the same value in another form: its second half is larger by the order of the group."""
    order = 2**252 + 27742317777372353535851937790883648493
    encoded = stage.invited().encode()
    larger = int.from_bytes(encoded[-32:], "little") + order
    return knock(stage.sealed(encoded[:-32] + (larger % 2**256).to_bytes(32, "little")))


def one_bit_off(stage: Stage) -> bytes:
    shown = bytearray(stage.sealed(stage.invited().encode()))
    shown[20] ^= 1
    return knock(bytes(shown))


Kinds = dict[str, tuple[Callable[[Stage], bytes | None], str]]
KINDS: Kinds = {
    # What is shown, and the reason that is told: only to who knows the secret.
    "nothing": (lambda stage: knock(b""), "unknown"),
    "zeros": (lambda stage: knock(bytes(KNOCK_BYTES)), "unknown"),
    "random bytes": (lambda stage: knock(os.urandom(KNOCK_BYTES)), "unknown"),
    "truncated": (lambda stage: knock(stage.sealed(stage.invited().encode())[:-1]), "unknown"),
    "truncated inside": (lambda stage: knock(stage.sealed(stage.invited().encode()[:-1])), "unknown"),
    "longer inside": (lambda stage: knock(stage.sealed(stage.invited().encode() + b"x")), ""),
    "one bit off": (one_bit_off, "unknown"),
    "not sealed": (lambda stage: knock(stage.invited().encode()), "unknown"),
    "sealed as an answer": (
        lambda stage: knock(stage.sealed(stage.invited().encode(), direction=b"answer")),
        "unknown",
    ),
    "zeros inside": (lambda stage: knock(stage.sealed(bytes(CREDENTIAL_BYTES))), "unknown"),
    "random inside": (lambda stage: knock(stage.sealed(os.urandom(CREDENTIAL_BYTES))), "unknown"),
    "other version of the token": (
        lambda stage: knock(stage.sealed(b"\x02" + stage.invited().encode()[1:])),
        "unknown",
    ),
    "other swarm": (of_another_swarm, "unknown"),
    "other authority": (of_another_authority, "unknown"),
    "claiming another authority": (claiming_another_authority, "unknown"),
    "signed by another key": (
        lambda stage: stage.showing(Credential.of(stage.stranger.peer_id, stage.link.invite, new_seed())),
        "unknown",
    ),
    "other peer's": (lambda stage: stage.showing(stage.link.credential(PeerId("somebody else"))), "unknown"),
    "more uses than signed": (lambda stage: stage.showing(changed(stage.invited(), uses=1000)), "unknown"),
    "longer than signed": (lambda stage: stage.showing(changed(stage.invited(), not_after_s=2**40)), "unknown"),
    "role changed": (lambda stage: stage.showing(changed(stage.invited(role="helper"), role="trainer")), "unknown"),
    "non-canonical": (non_canonical, "unknown"),
    "replayed": (lambda stage: knock(stage.said_by_member), "unknown"),
    "expired": (
        lambda stage: stage.showing(stage.invited(not_before_s=0, not_after_s=NOW_S - DAY_S)),
        "expired",
    ),
    "not yet valid": (
        lambda stage: stage.showing(stage.invited(not_before_s=NOW_S + DAY_S, not_after_s=NOW_S + 2 * DAY_S)),
        "early",
    ),
    "used up": (lambda stage: stage.showing(stage.used_up.credential(stage.stranger.peer_id)), "used"),
    "helper that trains": (lambda stage: stage.showing(stage.invited(role="helper")), "role"),
    "revoked peer": (revoked_peer, "revoked"),
    "revoked invite": (revoked_invite, "revoked"),
    "revoked origin": (revoked_origin, "revoked"),
    "of an open swarm": (lambda stage: knock(b"", kind="open"), "kind"),
    "visitor": (lambda stage: knock(stage.sealed(stage.invited().encode()), kind="visitor"), "kind"),
    "other protocol version": (
        lambda stage: knock(stage.sealed(stage.invited().encode()), protocol=PROTOCOL_VERSION + 1),
        "version",
    ),
    # What is not even answered.
    "hello first": (lambda stage: hello(), ""),
    "nothing at all": (lambda stage: b"", ""),
    "garbage": (lambda stage: os.urandom(500), ""),
    "oversized": (lambda stage: b"Knock " + b" " * (KNOCK_LIMIT_BYTES + 1), ""),
    "endless field": (
        lambda stage: b'Knock {"protocol":6,"kind":"private","shown":"' + b"A" * 900 + b'"}',
        "",
    ),
    "other protocols first": (lambda stage: None, ""),
}

OPENINGS = {
    HEARTBEATS: b"HeartbeatSummary {}",
    READY: encode_message(Ready(round=0, samples=1, urgent=False)),
    EXCHANGE: encode_message(ExchangeHeader(round_id="00", attempt=0)),
    REPORT: b"Report {}",
    PROBE: encode_message(Probe(round_id="00", attempt=0)),
    STATE: encode_message(StateRequest(chunk_elements=64)),
    STATUS: encode_message(StatusRequest()),
    RECIPE: encode_message(RecipeRequest()),
}
"""The protocols of members, and how somebody would begin each."""


async def staged(make: MakeTransport) -> Stage:
    founder = Founder()
    link = founder.link(uses=1)

    def access_of(name: str, me: PeerId) -> PrivateAccess:
        return founder.own(me) if name == "a" else founder.invited(me, link if name == "b" else None)

    swarm = Swarm(make, GossipSettings(matchmaking_time=2.0), timing=TIMING, run=RUN, access_of=access_of)
    for name in ("a", "b"):
        await swarm.add(name)
    await swarm.know_each_other()
    averaged = await swarm.average()
    assert all(each is not None and each.result.committed for each in averaged.values())
    stranger = await make("stranger")
    await stranger.connect(swarm.peers["a"].swarm.transport.addresses[0])
    access = swarm.peers["b"].swarm.admission.access
    assert access is not None
    return Stage(founder, swarm, stranger, founder.link(), link, access.knock(stranger.peer_id))


async def heard(stage: Stage, protocol: str, said: bytes, *more: bytes) -> bytes:
    """All that the victim says to the stranger that begins so. A stream on which it has answered it ends only later."""
    stream = await stage.stranger.open_stream(stage.victim.id, protocol)
    answer = b""
    try:
        async with stage.stranger.clock.timeout(GENEROUS_S) as patience:
            for each in (said, *more):
                await write_frame(stream, each, limit_bytes=LIMIT_BYTES)
            while True:
                answer += await stream.read_exactly(1)
                patience.reschedule(stage.stranger.clock.now() + AFTERWARDS_S)
    except ConnectionError:
        return answer
    except TimeoutError:
        assert answer, f"{protocol} neither answers nor ends"
        return answer
    finally:
        stream.abort()


async def learns_nothing(stage: Stage, said: bytes | None, reason: str) -> None:
    """The stranger tries, goes on all the same, opens everything else, and has heard one bare refusal."""
    before = stage.victim.values.copy()
    if said is not None:
        answer = await heard(stage, HELLO, said, hello())
        if reason:
            reply = decode_message(answer[4:], KnockReply)
            assert (reply.kind, reply.refusal, reply.shown) == ("private", reason, b"")
            assert int.from_bytes(answer[:4], "big") == len(answer) - 4
        else:
            assert answer == b""
        assert not any(secret in answer for secret in SECRETS)
    for protocol, opening in OPENINGS.items():
        assert await heard(stage, protocol, opening, bytes(4 * RUN.elements)) == b"", protocol
    membership = stage.victim.swarm.membership
    assert stage.stranger.peer_id not in membership.live()
    assert not stage.victim.swarm.admission.has_admitted(stage.stranger.peer_id)
    assert np.array_equal(stage.victim.values, before)


def test_there_are_thirty_kinds_and_more() -> None:
    assert len(KINDS) >= 30


@pytest.mark.parametrize("what", KINDS)
def test_a_stranger_learns_that_there_is_a_swarm_and_nothing_else(what: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "gossiptrain")

    async def scenario(make: MakeTransport) -> None:
        stage = await staged(make)
        try:
            make_words, reason = KINDS[what]
            await learns_nothing(stage, make_words(stage), reason)
            for secret in (stage.founder.secret, stage.founder.seed, stage.link.seed):
                assert secret.hex() not in caplog.text
                assert repr(secret) not in caplog.text
        finally:
            await stage.swarm.close()

    run_on("virtual", scenario)


def test_neither_on_the_real_network() -> None:
    async def scenario(make: MakeTransport) -> None:
        stage = await staged(make)
        try:
            for make_words, reason in sorted(KINDS.values(), key=lambda kind: kind[1] == "revoked"):
                await learns_nothing(stage, make_words(stage), reason)
            # What its network does for everybody tells nothing either.
            answer = await heard(stage, DIRECT, b"DirectRequest {}")
            assert not any(secret in answer for secret in SECRETS)
        finally:
            await stage.swarm.close()

    run_on("libp2p", scenario)


ANSWERS: dict[str, Callable[[Stage], KnockReply]] = {
    "open": lambda stage: KnockReply(protocol=PROTOCOL_VERSION, kind="open"),
    "nothing": lambda stage: KnockReply(protocol=PROTOCOL_VERSION, kind="private"),
    "random": lambda stage: KnockReply(protocol=PROTOCOL_VERSION, kind="private", shown=os.urandom(516)),
    "what it was shown": lambda stage: KnockReply(
        protocol=PROTOCOL_VERSION, kind="private", shown=stage.said_by_member
    ),
    "of another swarm": lambda stage: KnockReply(
        protocol=PROTOCOL_VERSION,
        kind="private",
        shown=stage.sealed(2 * Founder().link().credential(stage.stranger.peer_id).encode(), direction=b"answer"),
    ),
    "helper": lambda stage: KnockReply(protocol=PROTOCOL_VERSION, kind="helper"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_a_member_that_calls_a_stranger_does_not_say_hello(what: str) -> None:
    async def scenario(make: MakeTransport) -> None:
        stage = await staged(make)
        heard_frames: list[bytes] = []

        async def answer(stream: Stream) -> None:
            heard_frames.append(await read_frame(stream, limit_bytes=LIMIT_BYTES))
            await write_frame(stream, encode_message(ANSWERS[what](stage)), limit_bytes=LIMIT_BYTES)
            heard_frames.append(await read_frame(stream, limit_bytes=LIMIT_BYTES))

        try:
            await stage.stranger.serve(HELLO, answer)
            member = stage.victim.swarm
            await member.transport.connect(stage.stranger.addresses[0])
            if what == "helper":
                assert not await member.admission.handshake(stage.stranger.peer_id)
            else:
                with pytest.raises(NotAdmittedError):
                    await member.admission.handshake(stage.stranger.peer_id)
            with pytest.raises(UnreachableError):
                await member.admission.stream(stage.stranger.peer_id, STATE)
            for frame in heard_frames:
                shown = decode_message(frame, Knock)
                assert (shown.kind, len(shown.shown)) == ("private", KNOCK_BYTES)
        finally:
            await stage.swarm.close()

    run_on("virtual", scenario)


@on_both_transports
def test_those_who_were_invited_train_with_the_founder(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        stage = await staged(make)
        try:
            joiner = await stage.swarm.add("c")
            await stage.swarm.know_each_other()
            averaged = await stage.swarm.average()
            assert all(each is not None and len(each.result.members) == 3 for each in averaged.values())
            assert joiner.swarm.admission.has_met(stage.victim.id)
        finally:
            await stage.swarm.close()

    run_on(kind, scenario)


@on_both_transports
def test_open_and_private_peers_refuse_each_other_in_words(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        founder = Founder()
        open_one = Admission(await make("open"), RUN, timing=TIMING)
        transport = await make("private")
        closed = Admission(transport, RUN, timing=TIMING, access=founder.own(transport.peer_id))
        for admission in (open_one, closed):
            await admission.open()
        await transport.connect(open_one.transport.addresses[0])
        with pytest.raises(NotAdmittedError, match="is of a private swarm, and this peer of an open one"):
            await open_one.handshake(transport.peer_id)
        with pytest.raises(NotAdmittedError, match="is of an open swarm"):
            await closed.handshake(open_one.transport.peer_id)

    run_on(kind, scenario)


def test_a_member_of_another_version_is_told_so() -> None:
    async def scenario(make: MakeTransport) -> None:
        founder = Founder()
        made: list[Admission] = []
        for name, version in (("a", PROTOCOL_VERSION), ("b", PROTOCOL_VERSION + 1)):
            transport = await make(name)
            run = dataclasses.replace(RUN, protocol=version)
            made.append(Admission(transport, run, timing=TIMING, access=founder.own(transport.peer_id)))
            await made[-1].open()
        await made[0].transport.connect(made[1].transport.addresses[0])
        with pytest.raises(Exception, match="the protocol version differs: 6 here, 7 there"):
            await made[0].handshake(made[1].transport.peer_id)

    run_on("virtual", scenario)


@on_both_transports
def test_a_stranger_that_keeps_a_part_of_the_directory_reads_nothing_in_it(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        stage = await staged(make)
        try:
            a, b = (stage.swarm.peers[name].swarm for name in ("a", "b"))
            await stage.stranger.bootstrap([a.transport.peer_id])
            for peer in (a, b):
                await Rendezvous(peer.admission).tell(lifetime_s=60.0)
            found = dict(await Rendezvous(a.admission).found())
            assert set(found) == {a.transport.peer_id, b.transport.peer_id}
            assert found[b.transport.peer_id] == b.transport.addresses[:ENTRY_ADDRESSES]
            # Somebody who is no member finds nothing by the name of the run, and nothing where he is told to look.
            directory = stage.stranger.directory
            assert await directory.get(RUN.key) == {}
            entries = await directory.get(Rendezvous(a.admission).key)
            assert len(entries) == 2
            told = repr(entries)
            for word in (RUN.run, RUN.key, f"/p2p/{a.transport.peer_id}", *a.transport.addresses):
                assert word not in told
            # What a stranger puts there is nobody.
            await directory.put(
                Rendezvous(a.admission).key, "nobody", b'["/ip4/127.0.0.1/tcp/1/p2p/x"]', lifetime_s=60.0
            )
            assert dict(await Rendezvous(a.admission).found()) == found
        finally:
            await stage.swarm.close()

    run_on(kind, scenario)


@on_both_transports
def test_members_find_each_other_through_a_helper_that_is_told_nothing(kind: Kind) -> None:
    async def scenario(make: MakeTransport) -> None:
        founder = Founder()
        helper = await make("helper")
        heard_frames: list[bytes] = []

        async def listen(stream: Stream) -> None:
            heard_frames.append(await read_frame(stream, limit_bytes=LIMIT_BYTES))
            reply = KnockReply(protocol=PROTOCOL_VERSION, kind="helper")
            await write_frame(stream, encode_message(reply), limit_bytes=LIMIT_BYTES)

        await helper.serve(HELLO, listen)

        def access_of(name: str, me: PeerId) -> PrivateAccess:
            return founder.own(me) if name == "a" else founder.invited(me)

        swarm = Swarm(make, GossipSettings(), timing=TIMING, run=RUN, access_of=access_of)
        try:
            for name in "abc":
                peer = await swarm.add(name, initial=None)
                await peer.swarm.join([helper.addresses[0]])
            await swarm.know_each_other()
            assert heard_frames
            assert {decode_message(frame, Knock).kind for frame in heard_frames} == {"private"}
        finally:
            await swarm.close()

    run_on(kind, scenario)


def test_a_link_leads_in_though_one_of_its_addresses_is_that_of_somebody_else() -> None:
    async def scenario(make: MakeTransport) -> None:
        stage = await staged(make)
        try:
            other = await make("other")
            elsewhere = Admission(other, RUN, timing=TIMING, access=Founder().own(other.peer_id))
            await elsewhere.open()
            joiner = await stage.swarm.add("c", initial=None)
            with pytest.raises(NotAdmittedError):
                await joiner.swarm.join([other.addresses[0]])
            await joiner.swarm.join([other.addresses[0], stage.victim.swarm.transport.addresses[0]])
            await stage.swarm.know_each_other()
        finally:
            await stage.swarm.close()

    run_on("virtual", scenario)
