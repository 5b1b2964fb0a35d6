"""Models in half precision between real nodes: what travels, and what all hold at the end."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch

from gossiptrain.config import CodecName, GossipSettings
from tests.members import Constant, Member, wait_for_rounds

ELEMENTS = 100_000
SETTINGS = GossipSettings(every_steps=25)


@pytest.mark.parametrize(("precision", "bytes_each"), [(torch.bfloat16, 2), (torch.float16, 2), (torch.float32, 4)])
def test_a_model_travels_in_the_precision_that_it_has(precision: torch.dtype, bytes_each: int) -> None:
    with ExitStack() as stack:
        swarm: list[Member] = []
        for value in (1.0, 2.0):
            known = [member.address for member in swarm]
            model = Constant(value, elements=ELEMENTS).to(precision)
            member = Member(value, model=model, initial_peers=known, settings=SETTINGS, take_state=False)
            swarm.append(stack.enter_context(member))
        wait_for_rounds(swarm, 2, where=lambda event: not event.final)
    # Half of the parameters go to the other member, and the mean of the other half comes back.
    for met in swarm[0].rounds():
        assert ELEMENTS * bytes_each <= met.bytes_sent <= 1.1 * ELEMENTS * bytes_each
    (value,) = set(swarm[0].values.tolist())
    assert 1.0 < value < 2.0
    assert torch.equal(swarm[0].values, swarm[1].values)
    assert swarm[0].values.dtype == precision


@pytest.mark.parametrize(("codec", "strategy"), [("fp32", "average"), (None, "step-mix")])
def test_fine_digits_travel_where_they_are_asked_for_or_kept(codec: CodecName | None, strategy: str) -> None:
    settings = GossipSettings.model_validate({"codec": codec, "strategy": strategy})
    member = Member(1.0, model=Constant(1.0).to(torch.bfloat16), settings=settings)
    assert member.swarm.settings.codec == "fp32"
