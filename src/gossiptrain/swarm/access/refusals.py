"""What is said to people where a swarm does not let a peer in.

Owns the words for each reason, and what can be done about it.
"""

from __future__ import annotations

from gossiptrain.errors import NotAdmittedError, RunMismatchError
from gossiptrain.net.transport import PeerId

ASK_FOR_A_LINK = "Ask for a link, which `gossip invite` prints on a computer of the swarm, and start with --join LINK."
_WORDS = {
    "kind": (
        "is of a private swarm, and this peer of an open one",
        "A swarm is private unless all its peers are started with --open (open=True for loops of your own).",
        f"{ASK_FOR_A_LINK} Or have all peers started with --open.",
    ),
    "open": (
        "is of an open swarm, in which everybody can take part who knows an address",
        "It was started with --open, and this peer was not.",
        "Start this peer with --open as well, if the parameters are nobody's secret.",
    ),
    "unknown": (
        "is of a private swarm, of which this peer is no member",
        "Peers of one user on one computer know each other by the name of the run; all others need an invitation.",
        f"{ASK_FOR_A_LINK} On the same computer: start it as the same user, with the same --run. Or start the first "
        "peer with --open, for a swarm in which everybody can take part.",
    ),
    "early": (
        "does not take the invite yet",
        "By the clock there the link is not valid yet: one of the two clocks is wrong.",
        "Have both set by a time server: sudo timedatectl set-ntp true",
    ),
    "expired": (
        "does not take the invite any more",
        "The link has expired, and this peer has met nobody of the swarm's founder while it was valid.",
        ASK_FOR_A_LINK,
    ),
    "used": (
        "does not take the invite any more",
        "As many other peers have come with the link as it was made for. A peer that starts anew, and not with "
        "--resume or an identity that is kept, counts as another one.",
        f"Continue the run that was invited with --resume. Or: {ASK_FOR_A_LINK}",
    ),
    "revoked": (
        "does not take the invite any more",
        "Whoever has founded the swarm has revoked this peer, or the link with which it came.",
        "Ask them.",
    ),
    "role": (
        "does not let this peer train",
        "The link was made with --role helper.",
        "Use it with `gossip bootstrap`, or ask for a link to train.",
    ),
}
_NO_MEMBER = (
    "does not prove to be a member of this peer's private swarm",
    "It is another swarm's, or was thrown out; it was told nothing.",
    "Use the address of a member.",
)


def of_another_run(peer: PeerId, difference: str) -> RunMismatchError:
    """difference: in words."""
    return RunMismatchError(
        f"The peer {peer} takes part in another run: {difference}.",
        cause="Peers average only with peers of the same run, task, model and protocol version.",
        remedy="Start this peer with the same settings as the swarm's, or join another swarm.",
    )


def not_admitted(peer: PeerId, reason: str, *, by_me: bool = False) -> NotAdmittedError:
    """by_me: it is this peer that does not let the other one in."""
    what, cause, remedy = _NO_MEMBER if by_me else _WORDS[reason]
    return NotAdmittedError(f"The peer {peer} {what}.", cause=cause, remedy=remedy)
