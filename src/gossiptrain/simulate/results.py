"""What a run of the laboratory finds.

Owns the form of it, in Python and as JSON. Does not know how it is found, nor how it is shown.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gossiptrain.simulate.learn_settings import LearnSettings
from gossiptrain.simulate.resolving import Resolved


@dataclass(frozen=True)
class Score:
    """On held-out data: mean cross-entropy in nats, and the share of right answers."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Record:
    """Where all peers stand after a round.

    step: inner steps of a peer of usual speed. training_loss: mean over all peers and steps since the record before.
    bytes_per_peer: sent so far, mean over all peers. contraction, expected_contraction: factor by which this round
    shrank the variance among peers, and the one expected of its number of groups; None where there was no round.
    merged: how the mean of all peers does, where that was asked for. mean_peer: how the peers did by themselves just
    before that round, as the trainer of a real peer sees it, on average and on all held-out data; where asked for.
    """

    step: int
    training_loss: float
    disagreement: float
    bytes_per_peer: float
    contraction: float | None = None
    expected_contraction: float | None = None
    merged: Score | None = None
    mean_peer: Score | None = None


@dataclass(frozen=True)
class LearnResult:
    """One run, from the first record to the last scores.

    merged: the exact mean of all peers, its running statistics estimated anew where it has any, on all held-out data.
    peers: each by itself, at the end, on 2,000 samples at most; of the baseline `central` there is one. samples:
    training samples that each peer sees. inner_steps: of all peers together. refused: averages that honest peers did
    not apply, or applied in part, because they were too far away. training_seconds: in inner steps, and
    seconds: in everything but reading the data.
    """

    resolved: Resolved
    parameters: int
    samples: tuple[int, ...]
    records: tuple[Record, ...]
    merged: Score
    peers: tuple[Score, ...]
    disagreement: float
    rounds: int
    refused: int
    bytes_per_peer: float
    inner_steps: int
    training_seconds: float
    seconds: float

    @property
    def settings(self) -> LearnSettings:
        """What the run was told."""
        return self.resolved.settings

    @property
    def mean_peer(self) -> Score:
        """How the peers do on average."""
        return mean_score(self.peers)

    @property
    def worst_peer(self) -> Score:
        """The peer with the largest loss; one whose loss is no number is worse than all others."""
        return max(self.peers, key=lambda peer: math.inf if math.isnan(peer.loss) else peer.loss)

    @property
    def diverged(self) -> bool:
        """Whether the merged model has no finite loss."""
        return not math.isfinite(self.merged.loss)

    def as_json(self) -> dict[str, Any]:
        """Everything, fit for JSON: numbers that are not finite are null."""
        content = asdict(self)
        resolved = content.pop("resolved")
        settings = self.settings.model_dump(mode="json")
        settings |= {name: value for name, value in resolved.items() if name != "settings"}
        derived = {
            "mean_peer": asdict(self.mean_peer),
            "worst_peer": asdict(self.worst_peer),
            "diverged": self.diverged,
        }
        found: dict[str, Any] = _finite({"settings": settings, **content, **derived})
        return found


def mean_score(scores: Sequence[Score]) -> Score:
    """Of several models, each by itself."""
    return Score(statistics.fmean(each.loss for each in scores), statistics.fmean(each.accuracy for each in scores))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
