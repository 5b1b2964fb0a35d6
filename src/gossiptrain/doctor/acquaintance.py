"""What another peer says: who it is, which version it speaks, what it trains, its clock, and whether it can call back.

Owns the course of these questions. What most answers mean is in `answers`. Does not know how the daemon is started, nor
the road to the peer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gossiptrain.config import TimingSettings
from gossiptrain.core.fingerprint import PROTOCOL_VERSION
from gossiptrain.doctor import answers
from gossiptrain.doctor.finding import Finding, fault, not_checked, ok, warning
from gossiptrain.doctor.routes import source_for
from gossiptrain.monitor.words import duration, printable
from gossiptrain.net.addresses import Address
from gossiptrain.net.direct.messages import SeenAt
from gossiptrain.net.framing import ProtocolViolationError
from gossiptrain.net.libp2p.daemon_control import UNKNOWN_PROTOCOL
from gossiptrain.net.libp2p.transport import Libp2pTransport
from gossiptrain.net.transport import PeerId, UnreachableError
from gossiptrain.swarm.admission import Admission

HANDSHAKE_S = 3.0
ANSWER_S = 2.0
TOLERABLE_S = 20.0
"""Entries of the directory are renewed after this time, and live three times as long, by the clocks of those who keep
them."""
Note = Callable[[Finding], None]


class Acquaintance:
    """One conversation with a peer at an address where something listens."""

    def __init__(self, transport: Libp2pTransport, address: Address, note: Note) -> None:
        self._transport = transport
        self._address = address
        self._note = note
        self.seen_at: SeenAt | None = None
        """Where the peer sees this computer, where it is a relay."""

    async def make(self, expected: answers.Expected) -> None:
        """Goes as far as it can, and notes each step."""
        peer = await self._shake_hands()
        if peer is None or not await self._ask_who(peer, expected):
            return
        await self._compare_clocks(peer)
        await self._be_seen(peer)
        await self._be_called(peer)

    async def _shake_hands(self) -> PeerId | None:
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                peer = await self._transport.connect(self._address.text)
        except (UnreachableError, TimeoutError) as error:
            self._note(answers.no_handshake(str(error), self._address))
            return None
        self._note(ok("libp2p", "The peer has proved that it has this id."))
        return peer

    async def _ask_who(self, peer: PeerId, expected: answers.Expected) -> bool:
        """Whether it is a peer of this project that can be asked more."""
        admission = Admission(self._transport, None, timing=TimingSettings(dial_timeout_s=ANSWER_S))
        try:
            hello = (await admission.introduce(peer)).hello
        except UnreachableError as error:
            if str(error) == UNKNOWN_PROTOCOL:
                cause = "It is a program of another kind that uses libp2p, such as hivemind or IPFS."
                remedy = "Use the address of a peer that `gossip train` or `gossip bootstrap` has printed."
                self._note(fault("version", "It is no peer of gossiptrain.", cause=cause, remedy=remedy))
            else:
                self._note(answers.silent(printable(str(error))))
            return False
        except TimeoutError:
            self._note(answers.silent("no answer in time"))
            return False
        except ProtocolViolationError:
            self._note(answers.other_version("another"))
            return False
        except ConnectionError as error:
            self._note(answers.silent(printable(str(error))))
            return False
        if hello.protocol != PROTOCOL_VERSION:
            self._note(answers.other_version(str(hello.protocol)))
            return True
        self._note(ok("version", f"It speaks protocol {PROTOCOL_VERSION}, as this computer does."))
        self._note(answers.judged(hello, expected))
        return True

    async def _compare_clocks(self, peer: PeerId) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                ahead_s = await self._transport.directory.clock_difference_s(peer)
        except TimeoutError:
            ahead_s = None
        if ahead_s is None:
            self._note(not_checked("clocks", "The peer does not tell its time."))
            return
        if abs(ahead_s) <= TOLERABLE_S:
            self._note(ok("clocks", f"They differ by {duration(abs(ahead_s))} at most."))
            return
        behind = "behind" if ahead_s > 0 else "ahead of"
        self._note(
            fault(
                "clocks",
                f"The clock of this computer is {duration(abs(ahead_s))} {behind} that of the peer.",
                cause="One of the two is wrong; peers that do not know each other yet may not find each other.",
                remedy="Have both set by a time server: sudo timedatectl set-ntp true",
            )
        )

    async def _be_seen(self, peer: PeerId) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                seen = await self._transport.seen_by(peer)
        except (ConnectionError, TimeoutError):
            return  # only relays answer
        if seen is not None and answers.is_ip(seen.host):
            self.seen_at = seen
            self._note(ok("seen from there", f"The peer sees this computer at {seen.host}, port {seen.port}."))

    async def _be_called(self, peer: PeerId) -> None:
        host = self._address.ip
        if host is not None and source_for(host) == host:
            self._note(not_checked("calling back", "The peer is on this computer; only one elsewhere can try."))
            return
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                can_call = await self._transport.can_be_dialled_by(peer)
        except (ConnectionError, TimeoutError):
            can_call = None
        if can_call is None:
            self._note(not_checked("calling back", "The peer cannot be asked to call this computer."))
        elif can_call:
            self._note(ok("calling back", "The peer can call this computer: nothing stands in the way."))
        else:
            self._note(
                warning(
                    "calling back",
                    "The peer cannot call this computer, which can call it.",
                    cause="A firewall or a router of this side turns calls away, or --host-maddr is for this "
                    "computer alone.",
                    remedy="Let TCP in at a fixed port (--direct-port), and behind a router forward it. Where both "
                    "sides turn calls away, both need a peer that others can dial, such as `gossip bootstrap`.",
                )
            )
