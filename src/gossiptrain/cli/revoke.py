"""`gossip revoke`: throws peers out of a private swarm, or takes invites back."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any

import typer

from gossiptrain.cli.flags import Given, with_flags
from gossiptrain.cli.own_choice import RUN, Chosen, chosen
from gossiptrain.errors import UsageError
from gossiptrain.monitor.words import printable
from gossiptrain.net.identity import is_peer_id
from gossiptrain.net.transport import PeerId
from gossiptrain.node.own_swarms import MadeInvite
from gossiptrain.swarm.access.tokens import NEVER, digest_of

LEAST_LETTERS = 6
"""Of the name of an invite."""


@with_flags(RUN)
def revoke(
    who: Annotated[
        list[str] | None, typer.Argument(metavar="WHO", help="Ids of peers, or names of invites; none: show them.")
    ] = None,
    **values: Any,
) -> None:
    """Throws peers out of a private swarm of yours: by their ids, or all that came with an invite.

    Peers that run hear of it within seconds and pass it on; no peer of yours has to run for it to be noted. Without WHO
    it shows which invites there are.

    Examples:

    gossip revoke 12D3KooW...

    gossip revoke 0bfaa8c315fa
    """
    given = Given((RUN,), values)
    choice = chosen(given[RUN])
    if not who:
        _show(choice)
        return
    entries = [_entry(each, choice) for each in who]
    revoked = choice.folder.revoke(choice.swarm.run, *entries)
    heard = "peers that live hear of it within seconds" if choice.peers else "the next peer that you start tells others"
    typer.echo(f"Thrown out of the run {choice.swarm.run!r}: {', '.join(who)} (list {revoked.serial}); {heard}.")


def _entry(who: str, choice: Chosen) -> bytes:
    if is_peer_id(who):
        return digest_of(PeerId(who))
    found = [made for made in choice.swarm.invites if made.key.startswith(who)] if len(who) >= LEAST_LETTERS else []
    if len(found) != 1:
        raise UsageError(
            f"{printable(who, 80)!r} is neither the id of a peer nor the name of an invite to this swarm.",
            remedy="`gossip revoke` shows the invites; ids of peers stand in their addresses, after /p2p/.",
        )
    return bytes.fromhex(found[0].key)


def _show(choice: Chosen) -> None:
    revoked = choice.swarm.revoked
    typer.echo(f"Invites to the run {printable(choice.swarm.run, 60)!r}:")
    for made in choice.swarm.invites:
        typer.echo(f"  {made.key[:12]}  {made.role}, for {made.uses}, {_state(made, revoked.entries)}")
    if not choice.swarm.invites:
        typer.echo("  none")
    peers = len(revoked.entries - {bytes.fromhex(made.key) for made in choice.swarm.invites})
    typer.echo(f"Peers that were thrown out by their ids: {peers}")


def _state(made: MadeInvite, revoked: frozenset[bytes]) -> str:
    if bytes.fromhex(made.key) in revoked:
        return "revoked"
    if made.not_after_s >= NEVER:
        return "does not expire"
    until = f"{datetime.fromtimestamp(made.not_after_s):%Y-%m-%d %H:%M}"
    return f"expired on {until}" if time.time() > made.not_after_s else f"until {until}"
