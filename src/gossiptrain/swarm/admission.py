"""The one place where peers are admitted.

Owns the handshake that precedes everything else. Of a private swarm, both sides first show that they are members, and
whoever is none learns no more than that. Then both say which run they take part in, and whoever trains something else
is refused by the names of the fields that differ, before any other byte. Does not know what is said later, nor what
makes a member: that is `access`.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal

from gossiptrain.config import TimingSettings
from gossiptrain.core.fingerprint import PROTOCOL_VERSION, RunFingerprint
from gossiptrain.core.recent import Recent
from gossiptrain.errors import RunMismatchError
from gossiptrain.net.framing import opened, receive_message, send_message
from gossiptrain.net.transport import PeerId, Stream, StreamClosedError, Transport, UnreachableError
from gossiptrain.swarm.access.private import NotAdmitted, PrivateAccess
from gossiptrain.swarm.access.refusals import not_admitted, of_another_run
from gossiptrain.swarm.messages import Hello, Knock, KnockReply, Welcome

_logger = logging.getLogger(__package__)
HELLO = "/gossiptrain/hello"
KNOCK_LIMIT_BYTES = 1 << 10
"""Largest message from somebody who may be a stranger."""
MAX_REMEMBERED = 4096
"""Peers of which it is remembered that they were let in; whoever was not heard of for longest is admitted anew."""
HELPER_FINGERPRINT = RunFingerprint(PROTOCOL_VERSION, run="", task="", model="", elements=0)


@dataclass(frozen=True)
class Introduced:
    """What another peer has answered. welcome: None where it has not come to that."""

    reply: KnockReply
    welcome: Welcome | None = None


class Admission:
    """Shakes hands with others, admits those of the same run, and hands out streams to and from them only."""

    def __init__(
        self,
        transport: Transport,
        fingerprint: RunFingerprint | None,
        *,
        timing: TimingSettings,
        access: PrivateAccess | None = None,
    ) -> None:
        """fingerprint None: this peer only helps others find each other and lets nobody further in.

        access: what makes this peer a member of a private swarm; None for an open one.
        """
        self.transport = transport
        self.timing = timing
        self.fingerprint = fingerprint or HELPER_FINGERPRINT
        self.access = access
        self._is_helper = fingerprint is None
        self._admitted: Recent[PeerId, bool] = Recent(MAX_REMEMBERED)
        """Who has shown to be of this run, and may open streams; and whether it may only watch."""
        self._admitted_by: Recent[PeerId, None] = Recent(MAX_REMEMBERED)
        """Who has answered this peer's own handshake, and so has admitted it. To have admitted somebody is not enough:
        a stream could then overtake the answer, and be cut off by the other side."""
        self._served: defaultdict[PeerId, set[Stream]] = defaultdict(set)
        """The streams of members that are being answered."""

    async def open(self) -> None:
        """From now on answers handshakes."""
        await self.transport.serve(HELLO, self._answer)

    def forget(self, peer: PeerId) -> None:
        """Has the handshake repeated before the next stream to the peer, because it may have started anew."""
        self._admitted_by.pop(peer, None)

    def has_met(self, peer: PeerId) -> bool:
        """Whether the peer has answered this one's handshake, so that a stream to it is one round trip away."""
        return peer in self._admitted_by

    def opening_s(self, peer: PeerId) -> float:
        """How long opening a stream to the peer may take before it counts as silent.

        A dial's time where nothing is known of it. Where either side has shaken hands with the other, the way is open,
        and three round trips are enough.
        """
        met = self.has_met(peer) or self.has_admitted(peer)
        return 2 * self.timing.probe_timeout_s if met else self.timing.dial_timeout_s

    def has_admitted(self, peer: PeerId) -> bool:
        """Whether the peer itself has ever shown to be of this run."""
        return peer in self._admitted

    def learn_revocations(self, data: bytes) -> bool:
        """Takes in a list of revocations, and cuts off whom it names; says whether it was a newer one."""
        if self.access is None or not self.access.learn(data):
            return False
        for peer in [peer for peer in self._admitted if self.access.is_revoked(peer)]:
            _logger.info("%s was thrown out", peer)
            self._admitted.pop(peer)
            self.forget(peer)
            for stream in tuple(self._served.get(peer, ())):
                stream.abort()
        return True

    def is_revoked(self, peer: PeerId) -> bool:
        """Whether the peer was thrown out, as far as this one has heard."""
        return self.access is not None and self.access.is_revoked(peer)

    def may_only_watch(self, peer: PeerId) -> bool:
        """Whether the peer was let in to see the swarm, and for nothing else."""
        return bool(self._admitted.get(peer))

    def _admit(self, peer: PeerId) -> None:
        self._admitted[peer] = self.access is not None and self.access.only_watches(peer)

    async def introduce(self, peer: PeerId) -> Introduced:
        """Says who this peer is, as far as the other one may know it, and hears who that is. Raises UnreachableError,
        StreamClosedError, ProtocolViolationError or TimeoutError, and RunMismatchError where the other one does not
        prove to be a member of this peer's private swarm."""
        async with (
            self.transport.clock.timeout(self.timing.dial_timeout_s),
            opened(self.transport, peer, protocol=HELLO) as stream,
        ):
            await send_message(stream, self._knock(peer))
            if self.access is None:  # It hides nothing, and so need not wait.
                await send_message(stream, self._hello())
            reply = await receive_message(stream, KnockReply, limit_bytes=KNOCK_LIMIT_BYTES)
            if reply.kind == "helper" or reply.refusal or (self.access is not None and reply.kind != "private"):
                return Introduced(reply)
            if self.access is not None:
                try:
                    self.access.check_answer(peer, reply.shown)
                except NotAdmitted as refused:
                    raise not_admitted(peer, refused.reason, by_me=True) from None
                await send_message(stream, self._hello())
            return Introduced(reply, await receive_message(stream, Welcome))

    async def handshake(self, peer: PeerId) -> bool:
        """Introduces this peer; False where the other one is a helper, and no member.

        Raises RunMismatchError where it belongs to another run or does not let this peer in, UnreachableError,
        StreamClosedError or TimeoutError where there is no answer.
        """
        introduced = await self.introduce(peer)
        reply, welcome = introduced.reply, introduced.welcome
        if reply.kind == "helper":
            return False
        theirs = replace(self.fingerprint, protocol=reply.protocol) if welcome is None else welcome.hello.fingerprint
        difference = self.fingerprint.difference(theirs)
        if difference is None and welcome is None:
            _logger.info("%s does not let this peer in: %s", peer, reply.refusal or reply.kind)
            raise not_admitted(peer, "open" if reply.kind == "open" else reply.refusal or "kind")
        if difference is not None or welcome is None or not welcome.accepted:
            _logger.info("%s is of another run: %s", peer, difference or "it refuses this one")
            raise of_another_run(peer, difference or "it refuses this one")
        self._admit(peer)
        self._admitted_by[peer] = None
        _logger.info("admitted %s, which has let this peer in", peer)
        return True

    async def stream(self, peer: PeerId, protocol: str, *, bulk_bytes: int = 0) -> Stream:
        """Opens a stream to a member, after a handshake where there has been none. Raises UnreachableError."""
        await self._shake_hands_once(peer)
        try:
            return await self.transport.open_stream(peer, protocol, bulk_bytes=bulk_bytes)
        except UnreachableError:
            self.forget(peer)
            raise

    async def prepare(self, peer: PeerId, *, bulk_bytes: int) -> None:
        """Does beforehand what comes before the first byte of such a stream. Raises UnreachableError."""
        await self._shake_hands_once(peer)
        await self.transport.prepare(peer, bulk_bytes=bulk_bytes)

    async def _shake_hands_once(self, peer: PeerId) -> None:
        if peer in self._admitted_by:
            return
        try:
            is_member = await self.handshake(peer)
        except (RunMismatchError, StreamClosedError, TimeoutError) as error:
            raise UnreachableError(f"{peer} does not let this peer in: {error}") from error
        if not is_member:
            raise UnreachableError(f"{peer} trains nothing")

    async def serve(
        self, protocol: str, handler: Callable[[Stream], Awaitable[None]], *, to_watchers: bool = False
    ) -> None:
        """Serves a protocol to members only; strangers' streams are aborted unread.

        to_watchers: whether also to those that were only let in to see the swarm.

        A stream that breaks, or says what it must not, ends without further ado: it is the other side's loss.
        """

        async def guarded(stream: Stream) -> None:
            if stream.remote not in self._admitted:
                _logger.info("refused a stream of %s on %s: it has not admitted", stream.remote, protocol)
                stream.abort()
                return
            if not to_watchers and self.may_only_watch(stream.remote):
                _logger.info("refused a stream of %s on %s: it may only watch", stream.remote, protocol)
                stream.abort()
                return
            self._admitted[stream.remote] = self._admitted[stream.remote]  # It was heard of just now.
            self._served[stream.remote].add(stream)
            try:
                await handler(stream)
            except (ConnectionError, TimeoutError) as error:
                _logger.debug("a stream of %s on %s broke: %r", stream.remote, protocol, error)
                stream.abort()
            finally:
                self._served[stream.remote].discard(stream)
                if not self._served[stream.remote]:
                    del self._served[stream.remote]

        await self.transport.serve(protocol, guarded)

    def _knock(self, peer: PeerId) -> Knock:
        mine = self.fingerprint.protocol
        if self.access is not None:
            return Knock(protocol=mine, kind="private", shown=self.access.knock(peer))
        return Knock(protocol=mine, kind="visitor" if self._is_helper else "open")

    def _hello(self) -> Hello:
        mine = self.fingerprint
        return Hello(
            protocol=mine.protocol,
            run=mine.run,
            task=mine.task,
            model=mine.model,
            elements=mine.elements,
            strategy=mine.strategy,
            gossip_min_group_size=mine.common.gossip_min_group_size,
            grouping=mine.common.grouping,
            seed=mine.common.seed,
            fragments=mine.common.fragments,
            guard=mine.common.guard,
            helper=self._is_helper,
        )

    async def _answer(self, stream: Stream) -> None:
        try:
            async with self.transport.clock.timeout(self.timing.dial_timeout_s):
                knock = await receive_message(stream, Knock, limit_bytes=KNOCK_LIMIT_BYTES)
                reply = self._reply(stream.remote, knock)
                await send_message(stream, reply)
                if reply.kind == "helper" or reply.refusal:
                    _logger.info("%s refused: %s", stream.remote, reply.refusal or "nobody is admitted here")
                    return
                hello = await receive_message(stream, Hello)
                difference = self.fingerprint.difference(hello.fingerprint)
                accepted = difference is None and not hello.helper
                if accepted:
                    self._admit(stream.remote)
                _logger.info("%s %s", stream.remote, "admitted" if accepted else f"refused: {difference or 'visitor'}")
                await send_message(stream, Welcome(hello=self._hello(), accepted=accepted))
        except (ConnectionError, TimeoutError):
            stream.abort()

    def _reply(self, peer: PeerId, knock: Knock) -> KnockReply:
        """To somebody who may be a stranger."""
        mine, access = self.fingerprint.protocol, self.access
        if self._is_helper:
            return KnockReply(protocol=mine, kind="helper")
        kind: Literal["open", "private"] = "open" if access is None else "private"
        if knock.protocol != mine:
            return KnockReply(protocol=mine, kind=kind, refusal="version")
        if (knock.kind == "private") != (access is not None):
            return KnockReply(protocol=mine, kind=kind, refusal="kind")
        if access is None:
            return KnockReply(protocol=mine, kind=kind)
        try:
            return KnockReply(protocol=mine, kind=kind, shown=access.admit(peer, knock.shown))
        except NotAdmitted as refused:
            return KnockReply(protocol=mine, kind=kind, refusal=refused.reason)
