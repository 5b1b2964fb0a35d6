"""One cell of the table: how much is averaged over which links.

Owns its settings, how they are typed, and what physics allows. Does not know any system.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from typing import Any

from benchmarks.namespaces import Link

ELEMENT_BYTES = 4
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Cell:
    """size in MB of float32, and the links of all hosts; see `Link` for the units.

    delay: round trip in ms. uplink: its share of the downlink. loss: in percent of the packets. queue: in ms.
    """

    size: float = 25.0
    mbit: float = 100.0
    delay: float = 0.0
    uplink: float = 1.0
    loss: float = 0.0
    queue: float = 50.0
    hosts: int = 4

    @property
    def link(self) -> Link:
        """That each of the hosts has."""
        return Link(
            up_mbit=self.mbit * self.uplink,
            down_mbit=self.mbit,
            queue_ms=self.queue,
            round_trip_ms=self.delay,
            loss=self.loss / 100,
        )

    @property
    def elements(self) -> int:
        """Values in the vector of each peer."""
        return round(self.size * MEGABYTE) // ELEMENT_BYTES

    @property
    def bound_s(self) -> float:
        """The least time in which the slower direction carries what every member of an all-reduce must send."""
        sent_bytes = 2 * (self.hosts - 1) / self.hosts * self.size * MEGABYTE
        return sent_bytes * 8 / (self.mbit * min(1.0, self.uplink) * 1e6)

    def __str__(self) -> str:
        up = "" if self.uplink == 1.0 else f", uplink {self.mbit * self.uplink:g}"
        loss = f", {self.loss:g} % lost" if self.loss else ""
        return f"{self.size:g} MB, {self.mbit:g} Mbit/s{up}, {self.delay:g} ms, queue {self.queue:g} ms{loss}"


def cell(text: str) -> Cell:
    """The `type` of an argument that is a cell, like `size=5,mbit=20,delay=40`; what is not said stays as it is."""
    known = {field.name: int if field.name == "hosts" else float for field in fields(Cell)}
    given: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            given[name] = known[name](value)
        except (KeyError, ValueError) as error:
            raise argparse.ArgumentTypeError(f"{part!r} is not one of {', '.join(known)} with a number") from error
    found = Cell(**given)
    if found.size <= 0 or found.mbit <= 0 or found.uplink <= 0 or not 2 <= found.hosts <= 16:
        raise argparse.ArgumentTypeError(f"{text!r}: sizes and rates are above 0, and hosts from 2 to 16")
    if found.delay < 0 or found.queue <= 0 or not 0 <= found.loss < 100:
        raise argparse.ArgumentTypeError(f"{text!r}: no time is below 0, and a loss is a percentage")
    return found


CELLS = (
    Cell(size=25, mbit=100),
    Cell(size=5, mbit=20),
    Cell(size=25, mbit=100, delay=40, queue=100),
    Cell(size=5, mbit=100, uplink=0.2, delay=40, queue=100),
    Cell(size=5, mbit=20, queue=100),
)
"""Measured where none are named."""
FAST_CELLS = (Cell(size=100, mbit=1000, hosts=2), Cell(size=100, mbit=1000))
"""Where the processor may be the limit and not the line: it has to send, seal, open and add up for all hosts."""
FAR_CELLS = (Cell(size=5, mbit=20, delay=150, queue=100), Cell(size=25, mbit=100, delay=150, queue=200))
"""Where round trips count."""
CELLS_BY_NAME = {"usual": CELLS, "fast": FAST_CELLS, "far": FAR_CELLS}
