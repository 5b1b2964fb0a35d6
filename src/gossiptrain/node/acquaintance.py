"""Which swarm lives at an address, for one who was not told: a peer that only watches, or one that is about to join.

Owns the questions, and as what the own user is let in: with a link, as the founder of the swarm, or as everybody is
where it is open. Does not know what is done with the answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from gossiptrain.config import NetworkSettings
from gossiptrain.core.fingerprint import PROTOCOL_VERSION, RunFingerprint
from gossiptrain.errors import NotAdmittedError, PeerUnreachableError, RunMismatchError
from gossiptrain.net.transport import PeerId, Transport
from gossiptrain.node.access import introduced_as_member
from gossiptrain.node.kept_membership import KeptMembership
from gossiptrain.node.own_swarms import OwnSwarms
from gossiptrain.swarm.access.private import PrivateAccess
from gossiptrain.swarm.access.refusals import not_admitted
from gossiptrain.swarm.admission import Admission, Introduced
from gossiptrain.swarm.dialling import dial_all


@dataclass(frozen=True)
class Found:
    """The swarm at an address. peer: who has said so. access: what makes the asker a member; None where it is open."""

    peer: PeerId
    fingerprint: RunFingerprint
    access: PrivateAccess | None


async def find_swarm(transport: Transport, network: NetworkSettings, join: str) -> Found:
    """Asks the initial peers for the run that they take part in, the first that says. join: a link, or nothing.

    Raises PeerUnreachableError where nobody answers but helpers, NotAdmittedError, RunMismatchError.
    """
    timeout_s = network.timing.dial_timeout_s
    dialled = await dial_all(transport, network.initial_peers, timeout_s=timeout_s)
    dialled.check()
    refused: Exception | None = None
    for peer in dialled.reached:
        try:
            return await swarm_of(transport, peer, network, join=join)
        except (RunMismatchError, PeerUnreachableError, ConnectionError, TimeoutError) as error:
            refused = refused or error
    if isinstance(refused, RunMismatchError | PeerUnreachableError):
        raise refused
    raise NotAdmittedError(
        "The peers at these addresses do not say which run they take part in.",
        cause=str(refused) if refused is not None and str(refused) else "They do not answer in time.",
        remedy="`gossip doctor ADDRESS` finds out where the way to them ends.",
    )


async def swarm_of(transport: Transport, peer: PeerId, network: NetworkSettings, *, join: str = "") -> Found:
    """Asks one peer that was reached. Raises what `find_swarm` raises, ConnectionError and TimeoutError."""
    timing = network.timing
    access = None
    if join:
        access = PrivateAccess(
            transport.peer_id, KeptMembership(link=join).holding(transport.peer_id), unix_time=time.time
        )
    introduced = await Admission(transport, None, timing=timing, access=access).introduce(peer)
    reply = introduced.reply
    if reply.kind == "helper":
        raise PeerUnreachableError(
            f"The peer {peer} only helps others find each other: it is of no swarm.",
            remedy="Use the address of a peer that trains, as it prints it.",
        )
    if introduced.welcome is None and not join and reply.kind == "private":
        return await _own(transport, peer, introduced, within_s=timing.dial_timeout_s)
    if introduced.welcome is None:
        raise _refused(peer, introduced)
    return Found(peer, introduced.welcome.hello.fingerprint, access)


async def _own(transport: Transport, peer: PeerId, stranger: Introduced, *, within_s: float) -> Found:
    """A private swarm that this user has founded on this computer needs no link."""
    if stranger.reply.protocol != PROTOCOL_VERSION:
        raise _refused(peer, stranger)
    introduced = await introduced_as_member(transport, peer, run=None, within_s=within_s)
    if introduced is None or introduced.welcome is None:
        raise not_admitted(peer, "unknown")
    fingerprint = introduced.welcome.hello.fingerprint
    swarm = OwnSwarms().find(fingerprint.run)
    if swarm is None:
        raise not_admitted(peer, "unknown")
    access = PrivateAccess(transport.peer_id, swarm.holding(transport.peer_id), unix_time=time.time)
    return Found(peer, fingerprint, access)


def _refused(peer: PeerId, introduced: Introduced) -> RunMismatchError:
    reply = introduced.reply
    if reply.protocol != PROTOCOL_VERSION:
        return RunMismatchError(
            f"The peer {peer} speaks protocol {reply.protocol}, and this computer {PROTOCOL_VERSION}.",
            cause="The two have different versions of gossiptrain.",
            remedy="Install the same version here.",
        )
    reason = "open" if reply.kind == "open" else reply.refusal if reply.refusal not in ("", "version") else "unknown"
    return not_admitted(peer, reason)
