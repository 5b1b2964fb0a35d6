"""`gossip invite`: a link with which others join a private swarm.

Owns what goes into a link, and what is said of it to whoever makes it. The command with the link goes to standard
output and everything else to standard error, so that it can be sent on as it is.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import typer

from gossiptrain.cli.flags import Flag, Given, with_flags
from gossiptrain.cli.join_text import own_program
from gossiptrain.cli.own_choice import RUN, Chosen, chosen
from gossiptrain.errors import UsageError
from gossiptrain.net.addresses import join_addresses
from gossiptrain.net.transport import PeerId
from gossiptrain.node.living_peers import LivingPeer
from gossiptrain.node.own_swarms import MadeInvite
from gossiptrain.swarm.access.link import MOST_ADDRESSES, InviteLink
from gossiptrain.swarm.access.secret import SECRET_BYTES
from gossiptrain.swarm.access.tokens import MOST_USES, NEVER, ROLES, new_seed, public_key
from gossiptrain.training.tasks import TASK_NAMES
from gossiptrain.wrong_values import one_of

EXPIRES = Flag(
    ("--expires",), str, "For how long others can come with it: 30m, 24h, 7d, or never", metavar="TIME", default="24h"
)
USES = Flag(("--uses",), int, "How many peers can come with it.", default=5, lowest=1, highest=MOST_USES)
ROLE = Flag(
    ("--role",),
    str,
    "trainer; helper: only for `gossip bootstrap`, without the swarm's secret; or watcher, as --watch.",
    metavar="|".join(ROLES),
    default="trainer",
)
WATCH = Flag(("--watch",), bool, "Only to watch: it shows the swarm, and trains nothing.", default=False)
INVITE_FLAGS = (EXPIRES, USES, WATCH, ROLE, RUN)
_UNITS_S = {"m": 60, "h": 3600, "d": 86_400}


@with_flags(*INVITE_FLAGS)
def invite(**values: Any) -> None:
    """Prints the command with which others join a private swarm of yours, with a link.

    Whoever has the link can join: send it on a way that nobody else reads. `gossip revoke` takes it back.

    Examples:

    gossip invite

    gossip invite --expires 7d --uses 1

    gossip invite | ssh elsewhere 'gossip train --join -'
    """
    given = Given(INVITE_FLAGS, values)
    lifetime_s = lifetime_of(given[EXPIRES])
    if given[ROLE] not in ROLES:
        raise UsageError(f"There is no role {given[ROLE]!r}.", remedy=one_of(given[ROLE], ROLES))
    role = "watcher" if given[WATCH] else given[ROLE]
    choice = chosen(given[RUN])
    if not choice.peers:
        raise UsageError(
            f"No peer of the run {choice.swarm.run!r} lives on this computer, so others would find nobody.",
            remedy="Start one first, or invite while it runs.",
        )
    link = _made(choice, lifetime_s=lifetime_s, uses=given[USES], role=role)
    _tell(choice, link)


def lifetime_of(text: str) -> int | None:
    """Seconds; None for never. Raises UsageError."""
    if text == "never":
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if found is None:
        raise UsageError(f"{text!r} is no time for --expires.", remedy="Such as 30m, 24h, 7d, or never.")
    return int(found[1]) * _UNITS_S[found[2]]


def _made(choice: Chosen, *, lifetime_s: int | None, uses: int, role: Any) -> InviteLink:
    now_s, seed, swarm = int(time.time()), new_seed(), choice.swarm
    not_after_s = NEVER if lifetime_s is None else now_s + lifetime_s
    signed = swarm.authority.invite(public_key(seed), not_before_s=now_s, not_after_s=not_after_s, uses=uses, role=role)
    made = MadeInvite(key=signed.key.hex(), made_s=now_s, not_after_s=not_after_s, uses=uses, role=role)
    choice.folder.note_invite(swarm.run, made)
    secret = bytes(SECRET_BYTES) if role == "helper" else bytes.fromhex(swarm.secret)
    addresses = addresses_for_others(choice.peers)
    return InviteLink(swarm.run, choice.peers[0].digest, addresses, signed, seed, secret)


def addresses_for_others(peers: Sequence[LivingPeer]) -> tuple[str, ...]:
    """The best address of each of several living peers, those that are reached from farthest away first."""
    own = [join_addresses(peer.addresses) for peer in peers]
    others = join_addresses([address for peer in peers for address in peer.others])
    far = [*_first(each.internet for each in own), *others.internet]
    near = [*_first(each.this_network for each in own), *others.this_network]
    here = [*_first(each.this_computer for each in own), *others.this_computer]
    # Of use elsewhere is none of the last kind.
    return tuple(dict.fromkeys([*far[: MOST_ADDRESSES - 2], *near] or here))[:MOST_ADDRESSES]


def _first(groups: Iterable[Sequence[str]]) -> list[str]:
    return [group[0] for group in groups if group]


def _tell(choice: Chosen, link: InviteLink) -> None:
    invite = link.invite
    end = "no end" if not invite.expires else f"until {datetime.fromtimestamp(invite.not_after_s):%Y-%m-%d %H:%M}"
    count = f"{invite.uses} peer{'s' if invite.uses > 1 else ''}"
    typer.echo(f"The invite {invite.name} to the run {link.run!r}: for {count}, {end}. It is secret:", err=True)
    can = "watch, and not train" if invite.role == "watcher" else "join"
    typer.echo(f"whoever has it can {can}. `gossip revoke {invite.name}` takes it back.", err=True)
    places = join_addresses(link.addresses)
    if not places.internet:
        where = "in this network" if places.this_network else "on this computer"
        typer.echo(f"It leads to peers {where} only, since no other address of them is known.", err=True)
    typer.echo(_command(choice, link))


def _command(choice: Chosen, link: InviteLink) -> str:
    text = link.encode()
    if link.invite.role == "helper":
        return f"gossip bootstrap --join {shlex.quote(text)}"
    if link.invite.role == "watcher":
        return f"gossip watch {shlex.quote(text)}"
    told = (choice.living.command(PeerId(peer.peer)) for peer in choice.peers)
    command = next((each for each in told if each), None)
    task = choice.peers[0].task.partition("/")[0]
    if command is None and task in TASK_NAMES:
        command = shlex.join([*own_program(), "train", task])
    return f"gossip(model, optimizer, join={text!r})" if command is None else f"{command} --join {shlex.quote(text)}"
