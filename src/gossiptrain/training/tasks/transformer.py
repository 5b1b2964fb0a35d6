"""A small transformer that tells the next byte of a text (Vaswani et al. 2017, Radford et al. 2019).

Owns the architecture and its initialisation: a decoder with normalisation before each part (Xiong et al. 2020) and
learned positions, whose output layer is its embedding. It keeps no state and its course depends on no value, so
`torch.func` can run many of them as one. Does not know texts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

EMBEDDING_DEVIATION = 0.02
"""Standard deviation of the first embeddings and positions, as in GPT-2."""
MATRIX_GAIN = 0.3
"""Standard deviation of the first matrices times the square root of their inputs. Of 0.16, 0.3 and 0.5 this gave the
lowest loss after 500 steps of a small model, in the mean of two seeds and two learning rates."""


@dataclass(frozen=True, kw_only=True)
class TransformerShape:
    """How large a transformer is."""

    layers: int
    width: int
    heads: int
    """Divides the width."""
    context: int
    """Most tokens that it sees at once."""
    vocabulary: int = 256

    @property
    def parameters(self) -> int:
        """How many values are learnt."""
        layer = 12 * self.width**2 + 4 * self.width
        return self.layers * layer + (self.vocabulary + self.context + 2) * self.width


class Transformer(nn.Module):
    """Tokens [B, T] int64, T up to the context, to logits [B, T, vocabulary] of the token behind each of them."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Parameter(torch.empty(shape.context, shape.width))
        self.layers = nn.Sequential(*(Layer(shape) for _ in range(shape.layers)))
        self.normalisation = nn.LayerNorm(shape.width)
        for parameter in (self.embedding.weight, self.positions):
            nn.init.normal_(parameter, std=EMBEDDING_DEVIATION)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, not normalised."""
        features: Tensor = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        features = self.normalisation(self.layers(features))
        # One matrix for both ends: fewer parameters to learn and to send, and one name for them in every checkpoint.
        return functional.linear(features, self.embedding.weight)


class Layer(nn.Module):
    """Adds what attention finds in the tokens before, then what a perceptron makes of each token."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(shape.width)
        self.attention = Attention(shape)
        self.before_perceptron = nn.LayerNorm(shape.width)
        self.perceptron = nn.Sequential(
            matrix(shape.width, 4 * shape.width),
            nn.GELU(),
            matrix(4 * shape.width, shape.width, branches=2 * shape.layers),
        )

    def forward(self, features: Tensor) -> Tensor:
        """[B, T, width] to the same."""
        features = features + self.attention(self.before_attention(features))
        total: Tensor = features + self.perceptron(self.before_perceptron(features))
        return total


class Attention(nn.Module):
    """Causal attention of several heads.

    The CPU's fused kernel has no rule for `torch.func.vmap`, which then warns and calls it model by model; under
    `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)` all models are one.
    """

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.enter = matrix(shape.width, 3 * shape.width)
        self.leave = matrix(shape.width, shape.width, branches=2 * shape.layers)

    def forward(self, features: Tensor) -> Tensor:
        """[B, T, width] to the same."""
        queries, keys, values = self.enter(features).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        left: Tensor = self.leave(found.transpose(1, 2).flatten(-2))
        return left


def matrix(inputs: int, outputs: int, *, branches: int = 1) -> nn.Linear:
    """A layer without biases. branches: how many such layers are added up, so that their sum starts no larger."""
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(linear.weight, std=MATRIX_GAIN / math.sqrt(inputs * branches))
    return linear
