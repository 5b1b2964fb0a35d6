"""The invitation with which a peer comes, if any: where it stands, and what follows from it for run and addresses.

Owns how a link is given without being seen by others, and that it goes together with the rest of what is set. Does not
know what makes a member.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from gossiptrain.config import NetworkSettings
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.errors import RunMismatchError, UsageError
from gossiptrain.net.small_files import read_bounded
from gossiptrain.node.kept_membership import KeptMembership
from gossiptrain.swarm.access.link import InviteLink

DEFAULT_RUN = "default"
LIMIT_BYTES = 64 << 10
_LINK = re.compile(r"gossip://join/[^\s'\"]+")


@dataclass(frozen=True)
class Invitation:
    """What holds once the invitation is looked at. link: its text, secret; empty where there is none."""

    network: NetworkSettings
    run: str
    link: str = field(default="", repr=False)
    digest: str = ""

    def check(self, fingerprint: RunFingerprint) -> None:
        """Raises RunMismatchError where this peer's run is not the one that the link is for."""
        if self.digest and self.digest != fingerprint.key:
            raise RunMismatchError(
                f"The link is for the run {self.run!r} with another task, model, strategy or version than this peer's.",
                cause="Peers average only with peers of the same run, task, model and protocol version.",
                remedy="Start this peer as `gossip invite` has printed it, with the same version of gossiptrain.",
            )


def invitation_of(join: str | None, network: NetworkSettings, *, run: str | None) -> Invitation:
    """What a peer comes with. join: a link, `-` for standard input, or `@FILE`. run: None for the link's.

    Without `join` it is looked for in the file of an earlier start. Raises UsageError, which never quotes the link.
    """
    if join is not None and network.open:
        raise UsageError("A link leads to a private swarm, and --open to one for everybody.", remedy="Give only one.")
    if join is not None:
        link = InviteLink.parse(link_in(join))
        addresses = {"initial_peers": tuple(dict.fromkeys((*link.addresses, *network.initial_peers)))}
    else:
        kept = None
        if network.membership_path is not None and not network.open:
            kept = KeptMembership.read(Path(network.membership_path).expanduser())
        if kept is None:
            return Invitation(network, run if run is not None else DEFAULT_RUN)
        link = InviteLink.parse(kept.link)
        addresses = {"known_peers": tuple(dict.fromkeys((*network.known_peers, *link.addresses)))}
    if link.invite.role == "helper":
        raise UsageError(
            "The link is for a helper, not for a peer that trains.", remedy="Use it with `gossip bootstrap --join`."
        )
    if link.invite.role == "watcher":
        raise UsageError(
            "The link is for watching, not for a peer that trains.", remedy="Use it with `gossip watch LINK`."
        )
    if run is not None and run != link.run:
        raise UsageError(
            f"The link is for the run {link.run!r}, not for {run!r}.", remedy="Leave the name out; the link brings it."
        )
    return Invitation(network.model_copy(update=addresses), link.run, link.encode(), link.digest)


def link_in(given: str) -> str:
    """The text of the link: as given, from standard input for `-`, from a file for `@FILE`. Raises UsageError."""
    if given == "-":
        text = sys.stdin.readline(LIMIT_BYTES)
    elif given.startswith("@"):
        text = _text_of(Path(given[1:]).expanduser())
    else:
        return given
    found = _LINK.search(text)
    if found is None:
        where = "standard input" if given == "-" else given[1:]
        raise UsageError(f"There is no link in {where}.", remedy="It begins with gossip://join/ and has one line.")
    return found[0]


def _text_of(path: Path) -> str:
    try:
        content = read_bounded(path, limit_bytes=LIMIT_BYTES)
    except (OSError, ValueError) as error:
        raise UsageError(f"The file {path}, which is to hold a link, cannot be read: {error}.") from error
    if content is None:
        raise UsageError(f"The file {path}, which is to hold a link, is not there.")
    return content.decode("utf-8", "replace")
