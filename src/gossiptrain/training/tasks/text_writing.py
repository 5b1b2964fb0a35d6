"""Text by a model that tells the next byte of one: each byte is drawn, and the next is told from what is there then.

Owns the drawing, and how bytes become letters. Does not know where models come from, nor where text goes.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn import functional

START = b"\n"
"""What a model begins with that is given nothing: a line begins."""


def written(
    model: nn.Module, prompt: bytes, *, context: int, length: int, temperature: float, generator: torch.Generator
) -> Iterator[int]:
    """`length` bytes that follow the prompt, one after another as they are drawn.

    model: bytes [1, T] int64, T up to `context`, to logits [1, T, 256], on whatever device. It sees the last `context`
    bytes; of an empty prompt, START. temperature: logits are divided by it before bytes are drawn; 0: always the most
    likely byte. generator: on the CPU.
    """
    device = next(model.parameters()).device
    seen = list(prompt[-context:] or START)
    for _ in range(length):
        with torch.inference_mode():
            logits = model(torch.tensor([seen], device=device))[0, -1].float().cpu()
            if temperature == 0:
                drawn = int(logits.argmax())
            else:
                likely = functional.softmax(logits / temperature, dim=-1)
                drawn = int(torch.multinomial(likely, 1, generator=generator))
        yield drawn
        seen = [*seen, drawn][-context:]


def as_text(drawn: Iterable[int]) -> Iterator[str]:
    """The bytes as UTF-8, each letter as soon as it is whole; what is none is `\\ufffd`."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for byte in drawn:
        yield decoder.decode(bytes([byte]))
    yield decoder.decode(b"", final=True)
