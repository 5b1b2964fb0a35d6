"""The recipe by which a swarm trains: members tell it to newcomers, so that these need not be told it by people.

Owns the question and the answer between members; whoever is none is told nothing. Does not know what a recipe means.
"""

from __future__ import annotations

from gossiptrain.net.framing import receive_message, send_message
from gossiptrain.net.transport import PeerId, Stream
from gossiptrain.swarm.admission import Admission
from gossiptrain.swarm.recipe_messages import Recipe, RecipeReply, RecipeRequest

RECIPE = "/gossiptrain/recipe"
RECIPE_LIMIT_BYTES = 20 << 10
"""Room for the longest names and words that there can be."""


class RecipeServer:
    """Tells members how this peer trains."""

    def __init__(self, admission: Admission, recipe: Recipe | None) -> None:
        self._admission = admission
        self._reply = RecipeReply(recipe=recipe)

    async def open(self) -> None:
        """From now on answers members."""
        await self._admission.serve(RECIPE, self._serve)

    async def _serve(self, stream: Stream) -> None:
        async with self._admission.transport.clock.timeout(self._admission.timing.dial_timeout_s):
            await receive_message(stream, RecipeRequest)
            await send_message(stream, self._reply, limit_bytes=RECIPE_LIMIT_BYTES)


async def ask_recipe(admission: Admission, peer: PeerId) -> Recipe | None:
    """How a member trains; None where its training is a program of its user's own.

    Raises UnreachableError, StreamClosedError, ProtocolViolationError or TimeoutError.
    """
    async with admission.transport.clock.timeout(admission.timing.dial_timeout_s):
        stream = await admission.stream(peer, RECIPE)
        try:
            await send_message(stream, RecipeRequest())
            return (await receive_message(stream, RecipeReply, limit_bytes=RECIPE_LIMIT_BYTES)).recipe
        finally:
            await stream.close()
