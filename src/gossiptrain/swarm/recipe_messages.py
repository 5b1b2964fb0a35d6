"""What a joiner asks of the recipe by which a swarm trains, and what it is told, as typed messages.

Owns the words on the wire and their bounds. Does not know which settings there are: whoever reads a recipe takes the
names that it knows, and checks each value as if a user had given it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from gossiptrain.net.framing import Message
from gossiptrain.swarm.messages import Finite

MOST_VALUES = 64
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[0-9a-z_.]+$")]
Word = Annotated[str, StringConstraints(max_length=64, pattern=r"^[!-~]*$")]
Whole = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Value = Whole | Finite | Word


class RecipeRequest(Message):
    """A newcomer asks a member how the swarm trains."""


class Recipe(Message):
    """How a member trains: what another one needs to do the same."""

    task: Word
    """As on the command line."""
    variant: Annotated[dict[FieldName, Value], Field(max_length=MOST_VALUES)]
    """Of the task, such as the size of its model."""
    settings: Annotated[dict[FieldName, Value], Field(max_length=MOST_VALUES)]
    """By table and field, such as `gossip.every_steps`: what holds, whether it was said or follows from the task."""


class RecipeReply(Message):
    """The answer. recipe: None where the member's training is a program of its user's own."""

    recipe: Recipe | None
