"""Draws docs/demo.svg from the recorded events of a real run of the demo.

    .venv/bin/gossip demo --log-format json > demo.jsonl
    .venv/bin/python docs/make_demo_picture.py demo.jsonl docs/demo.svg

Every value in the picture is of that run: the table as it stood when the swarm was stopped, drawn by the same code as
in a terminal, and the verdict as it was told at the end.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from gossiptrain.events import Event, event_from_json
from gossiptrain.monitor.swarm_table import SwarmTable

WIDTH_COLUMNS = 84
VERDICT_BEGINS, VERDICT_ENDS = "Test accuracy of each peer", "All that was saved"


def read(lines: Iterable[str]) -> tuple[list[tuple[str, Event]], list[str]]:
    """The peers' events with their labels, and what was told beside them, both in order."""
    events: list[tuple[str, Event]] = []
    told: list[str] = []
    for line in lines:
        content = json.loads(line)
        if content["event"] == "demo":
            told.append(content["message"])
        elif (event := event_from_json(line)) is not None:
            events.append((content["peer"], event))
    return events, told


def table_when_stopped(events: Sequence[tuple[str, Event]]) -> SwarmTable:
    """The table as it stood before the first peer merged for the last time."""
    table = SwarmTable()
    for label in sorted({label for label, _ in events}):
        table.add(label)
    for label, event in events:
        if event.event == "finished" or (event.event == "round" and event.final):
            break
        table.handle(label, event)
    return table


def verdict(told: list[str]) -> list[str]:
    """The lines of the verdict. Raises SystemExit where the run did not come to one."""
    begins = [number for number, line in enumerate(told) if line.startswith(VERDICT_BEGINS)]
    ends = [number for number, line in enumerate(told) if line.startswith(VERDICT_ENDS)]
    if not begins or not ends:
        raise SystemExit("this run has no verdict: the demo did not come to its end")
    return told[begins[0] : ends[0]]


def draw(events: Sequence[tuple[str, Event]], told: list[str]) -> str:
    """The picture as SVG."""
    console = Console(record=True, width=WIDTH_COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "dim"), ("gossip demo", "bold")), end="\n\n")
    console.print(table_when_stopped(events))
    console.print()
    for line in verdict(told):
        console.print(Text(line, no_wrap=True))
    return console.export_svg(title="gossip demo", unique_id="demo")


def main(recording: str, picture: str) -> None:
    """Reads the recording and writes the picture."""
    events, told = read(Path(recording).read_text().splitlines())
    Path(picture).write_text(draw(events, told) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
