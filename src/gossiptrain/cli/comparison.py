"""What the peers of a swarm reached together, beside what each reaches alone.

Owns the two measurements and that they are of the same trainer, share and number of steps. Does not know what the
swarm should have reached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gossiptrain.cli.baselines import AloneRun, Baselines
from gossiptrain.cli.local_swarm import LocalPeer, SwarmPlan

Tick = Callable[[str], Awaitable[None]]
"""Shows what goes on and lets a moment pass."""


@dataclass(frozen=True)
class Measured:
    """One peer. Accuracies are of the test set, 0 to 1; steps are those that it made itself."""

    steps: int = 0
    together: float | None = None
    alone: float | None = None


@dataclass(frozen=True)
class Comparison:
    """by_label: the peers that saved a model. merged: accuracy of the mean of all. complaint: of a failed training."""

    by_label: dict[str, Measured]
    merged: float | None
    disagreement: float | None
    complaint: str


async def compare(plan: SwarmPlan, peers: Sequence[LocalPeer], *, tick: Tick) -> Comparison:
    """Measures the final models of `peers`, and trains each of them once more, alone, for as many steps."""
    # Imported late: torch takes a while.
    from gossiptrain.cli.final_models import measure

    final = measure({peer.label: peer.folder for peer in peers}, task="digits")
    runs: dict[str, AloneRun] = {}
    for peer in peers:
        if (model := final.models.get(peer.label)) is not None:
            steps = max(1, model.own_steps)
            runs[peer.label] = AloneRun(plan.alone_command(peer.share, out=f"alone-{peer.label}", steps=steps), steps)
    async with Baselines(list(runs.values())) as baselines:
        await baselines.start()
        while not baselines.are_over:
            await tick(f"for comparison, each peer's training once more, alone: {100 * baselines.share_done:.0f} %")
    by_label = {
        label: Measured(model.own_steps, together=model.accuracy, alone=runs[label].accuracy)
        for label, model in final.models.items()
    }
    return Comparison(by_label, final.merged, final.disagreement, baselines.last_words)
