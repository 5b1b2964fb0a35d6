"""All that can be learnt only where there is a GPU, within ten minutes on one card and 16 cores.

    .venv/bin/python -m benchmarks.gpu --json gpu.json
    .venv/bin/python -m benchmarks.gpu --parts values rounds
    .venv/bin/python -m benchmarks.gpu --device cpu --small     # that all of it runs, on a computer without a GPU

    values       whether rounds and copies are right with a model on the card
    rounds       rounds of two peers from the card's memory by codec, the copies, and what gossip costs their steps
    laboratory   virtual peers on the card, beside the processor
    shakespeare  four peers on the card learn Tiny Shakespeare; one published model reaches 1.4697

Each part is a process of its own with a time limit; what it has measured until then counts. Exits with 0, with 1 where
a part failed or a figure does not hold, and with 2 where there is no GPU. Owns the order, the limits and the table.
Measures nothing itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.figures import Figure, figures_in
from benchmarks.measure import machine, show_table, whole_number, write_json

LIMITS_S = {"values": 90.0, "rounds": 150.0, "laboratory": 70.0, "shakespeare": 280.0}
"""Of each part, in the order in which they run; together less than ten minutes."""
LAST_LINES = 8


@dataclass(frozen=True)
class Outcome:
    """What came of a part. failure: why it is not complete; empty where it is."""

    part: str
    seconds: float
    figures: list[Figure]
    failure: str = ""

    @property
    def is_well(self) -> bool:
        """Whether it is complete and nothing in it is wrong."""
        return not self.failure and all(figure.holds is not False for figure in self.figures)


def run(part: str, flags: Sequence[str], *, limit_s: float) -> Outcome:
    """Runs one part and ends all its processes, whatever becomes of it."""
    started_s = time.monotonic()
    command = [sys.executable, "-m", f"benchmarks.gpu.{part}", *flags]
    # Into a file: a pipe would stay open where a grandchild outlived the part.
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        failure = ""
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            failure = f"cut off after {limit_s:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        lines = said.read().splitlines()
    figures = figures_in(lines)
    if not failure and code and all(figure.holds is not False for figure in figures):
        failure = f"ended with {code}"
    if failure:
        print("\n".join([f"{part}: {failure}", *lines[-LAST_LINES:]]), file=sys.stderr)
    return Outcome(part, round(time.monotonic() - started_s, 1), figures, failure)


def show(outcomes: Sequence[Outcome], *, card: str, where: dict[str, Any]) -> None:
    """One table."""
    rows = []
    for outcome in outcomes:
        for figure in outcome.figures:
            judged = "" if figure.holds is None else "holds" if figure.holds else "DOES NOT HOLD"
            rows.append([f"{outcome.part}: {figure.what}", f"{figure.value:,.4g} {figure.unit}", judged])
        rows.append([f"{outcome.part}: time", f"{outcome.seconds:.0f} s", outcome.failure])
    show_table(f"{card}, {where['time']}, torch {torch.__version__}", ["", "", ""], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=tuple(LIMITS_S), default=list(LIMITS_S), metavar="PART")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="in a minute, to see that it runs")
    parser.add_argument("--longest", type=whole_number(10, 3600), default=595, metavar="SECONDS", help="in all (595)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too, after each part")
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        why = "and this torch is built without CUDA" if torch.version.cuda is None else "as far as torch can see"
        print(f"There is no NVIDIA GPU here, {why}: nothing was measured.", file=sys.stderr)
        return 2
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "the processor instead of a GPU"
    where = {**machine(), "card": card, "torch": torch.__version__, "small": given.small}
    flags = ["--device", given.device, *(["--small"] if given.small else [])]
    # An end from outside is an end as by Ctrl+C: no part is left behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    ends_s = time.monotonic() + given.longest
    outcomes: list[Outcome] = []
    for part in given.parts:
        left_s = ends_s - time.monotonic()
        limit_s = left_s if given.small else min(LIMITS_S[part], left_s)
        outcomes.append(run(part, flags, limit_s=limit_s) if limit_s > 0 else Outcome(part, 0.0, [], "no time left"))
        if given.json is not None:
            write_json(given.json, benchmark="gpu", measured_on=where, results=outcomes)
    show(outcomes, card=card, where=where)
    return 0 if all(outcome.is_well for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
