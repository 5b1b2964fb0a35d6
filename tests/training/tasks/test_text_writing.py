"""How a text is drawn byte by byte, and that what is shown of it is text and nothing else."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gossiptrain.monitor.words import harmless
from gossiptrain.training.tasks.text_writing import as_text, written


class Chain(nn.Module):
    """Tells the byte that is one larger, three times as likely as its neighbour; notes what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.given: list[list[int]] = []

    def forward(self, tokens: Tensor) -> Tensor:
        self.given.append(tokens[0].tolist())
        logits = torch.full((*tokens.shape, 256), -math.inf)
        following = ((tokens + 1) % 256).unsqueeze(-1)
        logits.scatter_(-1, following, math.log(3.0))
        logits.scatter_(-1, (following + 1) % 256, 0.0)
        return logits * self.scale


def drawn(
    prompt: bytes, *, length: int, temperature: float, context: int = 4, seed: int = 0
) -> tuple[Chain, list[int]]:
    model, generator = Chain(), torch.Generator().manual_seed(seed)
    return model, list(
        written(model, prompt, context=context, length=length, temperature=temperature, generator=generator)
    )


def test_the_most_likely_byte_follows_where_the_temperature_is_zero() -> None:
    assert drawn(b"a", length=4, temperature=0)[1] == list(b"bcde")


def test_the_model_sees_its_context_and_no_more() -> None:
    model, _ = drawn(b"abcdefg", length=3, temperature=0)
    assert model.given == [list(b"defg"), list(b"efgh"), list(b"fghi")]


def test_an_empty_prompt_begins_a_line() -> None:
    model, _ = drawn(b"", length=1, temperature=0)
    assert model.given == [[10]]


def test_bytes_are_drawn_as_often_as_they_are_likely() -> None:
    model = Chain()
    generator = torch.Generator().manual_seed(0)
    draws = [next(written(model, b"a", context=4, length=1, temperature=1.0, generator=generator)) for _ in range(2000)]
    # Three standard deviations of a share of 3/4 in 2000 draws are 0.029.
    assert abs(draws.count(ord("b")) / 2000 - 0.75) < 0.03
    assert set(draws) == set(b"bc")


@given(st.text())
def test_whole_letters_arrive_as_they_are_shown_at_once(text: str) -> None:
    assert "".join(as_text(text.encode("utf-8", "surrogatepass"))) == (
        text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    )


@given(st.binary())
def test_whatever_is_drawn_nothing_but_text_is_shown(data: bytes) -> None:
    said = "".join(map(harmless, as_text(data)))
    assert said == "".join(letter for letter in said if letter.isprintable() or letter in "\n\t")


def test_a_letter_of_several_bytes_is_shown_when_it_is_whole() -> None:
    assert list(as_text("ñ!".encode())) == ["", "ñ", "!", ""]
