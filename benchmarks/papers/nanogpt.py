"""Tiny Shakespeare by its characters on a CPU, beside the figure of nanoGPT.

    .venv/bin/python -m benchmarks.papers.nanogpt
    .venv/bin/python -m benchmarks.papers.nanogpt --peers 4 --every 10 25 --only "step-mix, int8"

The published figure is that of nanoGPT's README (Karpathy 2022) for "cheap" training on a CPU: 4 layers, 4 heads, width
128, context 64, no dropout, 2,000 steps of 12 samples, learning rate 0.001 with a cosine to a tenth of it: a validation
loss of 1.88. Here the same steps are made by one peer, and then by each of several with the rule that is named, which
see as many times more samples; where it says so with as many samples in all, 12 by the number of peers in each step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import whole_number
from benchmarks.papers.tables import Figure, beside, parser, show_figures, show_notes, write_figures
from gossiptrain.config import checked
from gossiptrain.simulate.learn import run
from gossiptrain.simulate.learn_settings import LearnSettings

PUBLISHED = 1.88
BATCH = 12
COURSES: Mapping[str, dict[str, Any]] = {
    "alone": {"strategy": "alone"},
    "central": {"strategy": "central"},
    "average": {"strategy": "average"},
    "step-mix": {"strategy": "step-mix"},
    "step-mix, int8": {"strategy": "step-mix", "codec": "int8"},
    "diloco": {"strategy": "diloco"},
    "step-mix, as many samples in all": {"strategy": "step-mix", "same_samples": True},
}
NOTES = """
"alone" is one peer by itself, the nearest to nanoGPT; "central" one model that learns from all peers' batches in every
step.

What differs from nanoGPT: a character is one of 256 bytes, not of 65 letters; the second beta is 0.99 in both; the
learning rate rises over a tenth of the steps; the loss is over 51,200 characters of the same last tenth of the text.
"""


def measured(given: Any) -> list[Figure]:
    """A line for each course and each number of inner steps between rounds."""
    figures = []
    for name in given.only:
        course = dict(COURSES[name])
        batch = max(1, BATCH // given.peers) if course.pop("same_samples", False) else BATCH
        for every in given.every if name not in ("alone", "central") else given.every[:1]:
            settings = checked(
                LearnSettings,
                **course,
                task="text",
                variant={"model": given.model},
                peers=given.peers,
                group_size=given.group_size,
                steps=given.steps,
                every_steps=every,
                batch=batch,
                learning_rate=given.lr,
                evaluate_every=0,
                data_dir=given.data_dir,
                device=given.device,
                seed=given.seed,
            )
            found = run(settings)
            loss = found.mean_peer.loss if name == "alone" else found.merged.loss
            print(f"{name}, H = {every}: {loss:.4f}, {found.bytes_per_peer / 1e6:.1f} MB sent by each", flush=True)
            row = name if name in ("alone", "central") else f"{name}, H = {every}"
            figures.append(beside(row, "loss", published=PUBLISHED, ours=loss))
            figures.append(beside(row, "MB sent", published=None, ours=found.bytes_per_peer / 1e6))
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, measures, prints, writes."""
    own = parser(__doc__)
    own.add_argument("--model", choices=("nano", "tiny", "small"), default="nano")
    own.add_argument("--peers", type=whole_number(2, 64), default=4)
    own.add_argument("--group-size", type=whole_number(2, 64), default=4)
    own.add_argument("--steps", type=whole_number(1), default=2000)
    own.add_argument("--every", type=whole_number(1), nargs="+", default=[10, 25])
    own.add_argument("--lr", type=float, default=1e-3)
    own.add_argument("--seed", type=whole_number(0), default=0)
    own.add_argument("--only", nargs="+", choices=tuple(COURSES), default=list(COURSES))
    own.add_argument("--device", default="auto")
    own.add_argument("--data-dir", type=Path)
    given = own.parse_args(arguments)
    figures = measured(given)
    show_figures("Validation loss, nats a character", figures, digits=3)
    show_notes(NOTES)
    write_figures(given.json, benchmark="nanogpt", figures=figures)


if __name__ == "__main__":
    main()
