"""`gossip watch`: a swarm in the terminal and on a page, without training.

Owns how the swarm is named, and what of it is printed. What is seen comes from `node.watcher`, and is folded as for the
page of a peer.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any, cast, get_args

import typer

from gossiptrain import logs
from gossiptrain.cli import options
from gossiptrain.cli.flags import Flag, Given, with_flags
from gossiptrain.cli.own_choice import RUN, chosen
from gossiptrain.cli.paging import PAGE, page_of
from gossiptrain.config import NetworkSettings, layered
from gossiptrain.core.fingerprint import RunFingerprint
from gossiptrain.errors import UsageError
from gossiptrain.events import Event, Notice, PeerSeen, SwarmSeen
from gossiptrain.monitor.json_lines import JsonLinesView
from gossiptrain.monitor.page.picture import SwarmPicture
from gossiptrain.monitor.picture_table import LivePictureTable, PlainPictureLines
from gossiptrain.monitor.view import Format, View
from gossiptrain.net import trace
from gossiptrain.net.addresses import check_addresses
from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.access.link import SCHEME, InviteLink
from gossiptrain.training.invitation import link_in

SECONDS = Flag(("--seconds",), float, "End after so many seconds.", lowest=0.1)
WATCH_FLAGS = (
    RUN,
    PAGE,
    SECONDS,
    options.HOST_MADDR,
    options.PRESET,
    options.LOG_FORMAT,
    options.LOG_LEVEL,
)


@with_flags(*WATCH_FLAGS)
def watch(
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="[MADDR|LINK]",
            help="Address of any living peer, or a link of `gossip invite` (- reads it from standard input, @FILE from "
            "a file). Without it: the swarm of this user that lives on this computer.",
        ),
    ] = None,
    **values: Any,
) -> None:
    """Shows a swarm without taking part in it: who is there, loss, rounds and disagreement, until Ctrl+C.

    The watcher trains nothing and holds no parameters. A private swarm of somebody else is watched with a link, which
    counts as one use of it.

    Examples:

    gossip watch

    gossip watch /ip4/192.0.2.7/tcp/4011/p2p/12D3KooW... --page
    """
    given = Given(WATCH_FLAGS, values)
    if given[options.LOG_FORMAT] not in get_args(Format):
        raise UsageError(f"There is no log format {given[options.LOG_FORMAT]!r}.", remedy="Use auto, plain or json.")
    addresses, join = _named(place, given[RUN])
    network = layered(NetworkSettings, given.settings("network"), {"initial_peers": list(addresses)})
    network = network.model_copy(update={"local_network": False, "relay": False})
    check_addresses(network)
    trace.start_as_told()
    picture = SwarmPicture("watcher")
    with logs.shown(given[options.LOG_LEVEL]), page_of(picture, given[PAGE]) as notices:
        watcher = _Watch(picture, _view(cast(Format, given[options.LOG_FORMAT]), picture, notices))
        try:
            asyncio.run(watcher.run(network, join, seconds=given[SECONDS]))
        finally:
            watcher.view.close()


def _named(place: str | None, run: str | None) -> tuple[Sequence[str], str]:
    """Addresses of the swarm, and the link to it, if any. Raises UsageError."""
    if place is None:
        return [address for peer in chosen(run).peers for address in peer.addresses[:1]], ""
    if place.startswith("/"):
        return [place], ""
    if place == "-" or place.startswith(("@", SCHEME)):
        link = InviteLink.parse(link_in(place))
        if link.invite.role == "helper":
            raise UsageError("A link for helpers does not let anybody see the swarm.", remedy="Ask for another link.")
        return link.addresses, link.encode()
    raise UsageError(
        f"{place!r} is neither an address nor a link.", remedy="Such as /ip4/192.0.2.7/tcp/4011/p2p/12D3KooW..."
    )


def _view(log_format: Format, picture: SwarmPicture, notices: Sequence[Notice]) -> View:
    if log_format == "json":
        view: View = JsonLinesView(sys.stdout)
    elif log_format in ("auto", "live") and sys.stdout.isatty():
        view = LivePictureTable(picture, sys.stdout)
    else:
        view = PlainPictureLines(picture, sys.stdout)
    for notice in notices:
        view.handle(notice)
    return view


class _Watch:
    """One stay: what is seen goes to the picture and to the view."""

    def __init__(self, picture: SwarmPicture, view: View) -> None:
        self.view = view
        self._picture = picture

    async def run(self, network: NetworkSettings, join: str, *, seconds: float | None) -> None:
        """Until Ctrl+C, SIGTERM or the end of the time. Raises what `watch_swarm` raises."""
        from gossiptrain.node.watcher import Audience, watch_swarm

        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        if seconds is not None:
            loop.call_later(seconds, stop.set)
        await watch_swarm(network, Audience(self._find, self._see, self._note), join=join, stop=stop)

    def _find(self, fingerprint: RunFingerprint, me: PeerId) -> None:
        self._picture.describe(run=fingerprint.run, task=fingerprint.task)

    def _see(self, seen: tuple[PeerSeen, ...]) -> None:
        self._note(SwarmSeen(peers=seen))

    def _note(self, event: Event) -> None:
        self._picture.handle(event)
        self.view.handle(event)
