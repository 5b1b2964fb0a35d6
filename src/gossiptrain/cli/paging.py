"""`--page`: the flag, what may follow it, and the page of a command while that runs.

Owns that the flag has a value or none, where the page then is, and what is said of it. Does not know what it shows.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gossiptrain.cli.flags import Flag, with_values
from gossiptrain.cli.options import OUTPUT
from gossiptrain.events import Notice
from gossiptrain.monitor.page.picture import SwarmPicture
from gossiptrain.monitor.page.place import AUTO, USUAL_PORT, Place, is_place
from gossiptrain.monitor.page.server import Order, PageServer

FLAG = "--page"
PAGE = Flag(
    (FLAG,),
    str,
    f"Show the swarm on a page, for this computer alone, or at HOST:PORT for others ({USUAL_PORT})",
    panel=OUTPUT,
    metavar="[[HOST:]PORT]",
)
OPEN_WIDE = (
    "the page is open to everybody who can reach this computer there: they see the peers, losses and events of the "
    "swarm. Without a host, --page is for this computer alone"
)


def with_pages(arguments: Sequence[str]) -> list[str]:
    """The arguments with `AUTO` after each `--page` that no place follows, since a flag has a value or has none."""
    return with_values(arguments, FLAG, is_value=is_place, otherwise=AUTO)


@contextmanager
def page_of(picture: SwarmPicture, place: str | None, *, order: Order | None = None) -> Iterator[tuple[Notice, ...]]:
    """Serves `picture` as long as it lasts, and gives what a person is to be told of it; nothing where `place` is None.

    order: what a person orders there, if anything can be. Raises UsageError, PortInUseError.
    """
    if place is None:
        yield ()
        return
    where = Place.parse(place)
    server = PageServer(where, picture.snapshot, order=order, key=secrets.token_urlsafe(16) if order else "")
    try:
        told = Notice(message=f"the swarm on a page: {server.url}")
        yield (told,) if where.is_here_alone else (told, Notice(level="warning", message=OPEN_WIDE))
    finally:
        server.close()
