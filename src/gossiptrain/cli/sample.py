"""`gossip sample`: text by a model that was trained on text, letter by letter as it is made.

Owns the command and where the text goes. Which byte follows is drawn in `text_writing`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from gossiptrain.cli import options
from gossiptrain.cli.flags import Flag, Given, with_flags
from gossiptrain.errors import UsageError
from gossiptrain.monitor.words import harmless

PROMPT = Flag(("--prompt",), str, "How the text begins; - reads it from standard input", metavar="TEXT")
LENGTH = Flag(("--length",), int, "How many bytes follow (500)", lowest=1, highest=1_000_000, default=500)
TEMPERATURE = Flag(
    ("--temperature",),
    float,
    "How daring: 0 always takes the most likely byte (0.8)",
    metavar="T",
    lowest=0,
    highest=100,
    default=0.8,
)
SEED = Flag(("--seed",), int, "The same seed writes the same text (another one each time)", lowest=0, highest=2**63 - 1)
SAMPLE_FLAGS = (PROMPT, LENGTH, TEMPERATURE, SEED, options.DEVICE)
PROMPT_LIMIT_BYTES = 1 << 20


@with_flags(*SAMPLE_FLAGS)
def sample(
    saved: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder, a checkpoint, or an exported model.")],
    **values: Any,
) -> None:
    """Writes text with a model that `gossip train text` has trained.

    gossip sample runs/text-20261122-153012-3f9a --prompt "ROMEO:"

    gossip sample model.safetensors --length 2000 --seed 1 > play.txt
    """
    import torch

    from gossiptrain.training.compute import chosen_device
    from gossiptrain.training.saved_model import load_saved
    from gossiptrain.training.tasks.text import TextTask
    from gossiptrain.training.tasks.text_writing import as_text, written

    given = Given(SAMPLE_FLAGS, values)
    loaded = load_saved(saved, report=lambda text: typer.echo(text, err=True))
    task = loaded.checked_task()
    if not isinstance(task, TextTask):
        raise UsageError(
            f"{saved} is of the task {task.name}, which writes no text.",
            remedy=f"Name a run of `gossip train text`. How good this model is says: gossip eval {saved}",
        )
    model = loaded.build(task).to(chosen_device(given[options.DEVICE] or "auto"))
    generator = torch.Generator()
    if given[SEED] is None:
        generator.seed()
    else:
        generator.manual_seed(given[SEED])
    prompt = _prompt(given[PROMPT])
    drawn = written(
        model,
        prompt,
        context=task.shape.context,
        length=given[LENGTH],
        temperature=given[TEMPERATURE],
        generator=generator,
    )
    _write([harmless(prompt.decode("utf-8", "replace"))])
    try:
        _write(map(harmless, as_text(drawn)))
    finally:
        _write("\n")


def _prompt(given: str | None) -> bytes:
    """Raises UsageError."""
    if given != "-":
        return (given or "").encode("utf-8", "surrogateescape")
    prompt = sys.stdin.buffer.read(PROMPT_LIMIT_BYTES + 1)
    if len(prompt) > PROMPT_LIMIT_BYTES:
        raise UsageError(
            f"The beginning on standard input is longer than {PROMPT_LIMIT_BYTES:,} bytes.",
            remedy="Only its last few dozen bytes matter; see `gossip sample --help`.",
        )
    # The line's end is the shell's, not the text's.
    return prompt.removesuffix(b"\n")


def _write(pieces: Iterable[str]) -> None:
    """Each piece at once; letters that the stream does not know become `?`. Raises OSError where its reader is gone."""
    encoding = sys.stdout.encoding or "utf-8"
    for piece in pieces:
        sys.stdout.write(piece.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
