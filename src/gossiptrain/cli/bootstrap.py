"""`gossip bootstrap`: a peer that only helps others find each other."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import typer

from gossiptrain import logs
from gossiptrain.cli import options
from gossiptrain.cli.flags import Given, with_flags
from gossiptrain.cli.joining import link_of
from gossiptrain.config import NetworkSettings, layered
from gossiptrain.net import trace
from gossiptrain.net.addresses import check_addresses, join_addresses
from gossiptrain.net.identity import Identity
from gossiptrain.swarm.access.link import InviteLink
from gossiptrain.training.invitation import link_in

BOOTSTRAP_FLAGS = (*options.MEETING, options.JOIN, options.LOG_LEVEL)


@with_flags(*BOOTSTRAP_FLAGS)
def bootstrap(**values: Any) -> None:
    """Runs a peer that trains nothing and only helps others find each other, until Ctrl+C.

    Peers of any run may give its address as --initial-peer. With --identity and a fixed port the address stays the
    same over restarts.

    It learns nothing of the runs of those that it helps. --join takes the addresses of a link, best of one that
    `gossip invite --role helper` has printed.

    Example:  gossip bootstrap --host-maddr /ip4/0.0.0.0/tcp/4001 --identity helper.key
    """
    given = Given(BOOTSTRAP_FLAGS, values)
    network = layered(
        NetworkSettings, given.settings("network"), called=given.called("network"), remedy=options.SEE_HELP
    )
    told = link_of(given[options.JOIN])
    if told is not None:
        link = InviteLink.parse(link_in(told))
        network = network.model_copy(update={"initial_peers": (*link.addresses, *network.initial_peers)})
    check_addresses(network)
    trace.start_as_told()
    with logs.shown(given[options.LOG_LEVEL]), Identity.kept_or_new(network.identity_path) as loaded:
        asyncio.run(_help(network, loaded))


async def _help(network: NetworkSettings, identity: Identity) -> None:
    from gossiptrain.node.helper import help_others

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await help_others(network, identity, on_ready=_show, stop=stop)


def _show(addresses: tuple[str, ...]) -> None:
    places = join_addresses(addresses)
    typer.echo("Helping others find each other. Peers use one of these as --initial-peer:")
    for place, found in (
        ("this computer", places.this_computer),
        ("this network", places.this_network),
        ("the internet", places.internet),
    ):
        for address in found:
            typer.echo(f"  {place:<14} {address}")
