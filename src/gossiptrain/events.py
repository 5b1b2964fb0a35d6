"""The one stream of typed events of a peer: what happened, told once and read by every view.

Owns the events and their form as one JSON line each. Pure data: does not know who tells or reads them, nor files,
terminals or the network. Torch is not needed to read a stream.

    started → joined? → (step | round | round_refused | round_failed | eval | peer | node | ...)* → finished
"""

from __future__ import annotations

import json
from time import time as unix_time
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

MAX_LINE_CHARS = 64 << 10
"""Longest line that is decoded. A reader never spends more on one line, whoever wrote it."""
MAX_TEXT_CHARS = 4096
"""Longest text in one field; the rest is cut off."""


def _storable(text: object) -> object:
    """Text that can be written as UTF-8, of bounded length. File names may hold bytes that are not UTF-8."""
    return text[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode() if isinstance(text, str) else text


def _nan_for_null(value: object) -> object:
    """JSON has no NaN: it is written as null, and null is read back as NaN."""
    return float("nan") if value is None else value


Text: TypeAlias = Annotated[str, BeforeValidator(_storable)]
Count: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]
Number: TypeAlias = Annotated[float, BeforeValidator(_nan_for_null)]


class EventBase(BaseModel):
    """What all events have: a tag, `event`, and the unix time in seconds at which it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: str
    time: float = Field(default_factory=unix_time, allow_inf_nan=False)


class Started(EventBase):
    """A peer is up and can be joined.

    steps: how many it means to make in all, where that is known. max_seconds: after which time of training it ends.
    called: how `gossip train` knows task and model, such as `cifar10 tiny`; None for a loop of the user's own.
    """

    event: Literal["started"] = "started"
    peer_id: Text
    run: Text
    task: Text
    addresses: tuple[Text, ...]
    device: Text
    parameters: Count
    samples: Count
    first: bool
    steps: Count | None = None
    max_seconds: float | None = None
    called: Text | None = None


class Joined(EventBase):
    """This peer took the current parameters from a living one, `donor`.

    moments_bytes: of second moments, where it has a new Adam and others had some to give.
    """

    event: Literal["joined"] = "joined"
    donor: Text
    step: Count
    seconds: Number
    bytes: Count
    moments_bytes: Count = 0


class StepDone(EventBase):
    """Inner steps were made; `step` counts all of them, `epoch` is how often the peer's own data were seen."""

    event: Literal["step"] = "step"
    step: Count
    epoch: Number
    loss: Number
    learning_rate: Number
    samples_per_s: Number


class RoundCommitted(EventBase):
    """A committed round. `seconds` is the exchange alone, `formation_seconds` what it took to find the group.

    disagreement: root mean square distance of the group's snapshots from their average, divided by the root mean
    square of the average. final: the exact merge at the end of the run. paths: by other member, over what this peer's
    bytes went to it: `direct`, a connection of their own, or `libp2p`.
    """

    event: Literal["round"] = "round"
    round: Count
    members: tuple[Text, ...]
    seconds: Number
    formation_seconds: Number
    bytes_sent: Count
    disagreement: float | None = None
    attempts: Count = 1
    final: bool = False
    paths: dict[Text, Text] = Field(default_factory=dict)


class RoundFailed(EventBase):
    """No round came about. `alone`: there is no other living peer."""

    event: Literal["round_failed"] = "round_failed"
    round: Count | None = None
    reason: Text
    alone: bool = False


class RoundRefused(EventBase):
    """The guard let nothing of a round's average be applied, or only a part of it: it was `times` as far from this
    peer's parameters as usual, and kept this share of them: 1 is all, 0 or less has nothing in common with them."""

    event: Literal["round_refused"] = "round_refused"
    round: Count
    times: Number
    kept: Number = 1.0
    partly: bool = False


class Evaluated(EventBase):
    """Loss and accuracy (0 to 1) on test data, of this peer's own model or of the merged one."""

    event: Literal["eval"] = "eval"
    step: Count
    loss: Number
    accuracy: Number
    samples: Count
    of: Literal["peer", "merged"] = "peer"


class PeerChanged(EventBase):
    """Another peer came, said goodbye (`left`) or fell silent (`lost`). `peers`: the living, this one included."""

    event: Literal["peer"] = "peer"
    peer_id: Text
    change: Literal["joined", "left", "lost"]
    peers: Count


class Met(BaseModel):
    """A round of another peer, its members by the ends of their ids."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    round: Count
    members: tuple[Text, ...]
    disagreement: float | None = None


class Shown(BaseModel):
    """What another peer has shown of itself. Histories, by step and by round, come with the first word of a peer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss: float | None
    rounds: Count
    bytes_sent: Count
    bytes_per_s: Number
    met: tuple[Met, ...] = ()
    losses: tuple[tuple[Count, float], ...] = ()
    disagreements: tuple[tuple[Count, float], ...] = ()


class PeerSeen(BaseModel):
    """A living peer, by its last heartbeat; `ending`: it has made its last step. shown: what it has answered since."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    peer_id: Text
    state: Literal["joining", "training", "ending", "watching"]
    step: Count
    round: Count
    shown: tuple[Shown, ...] = ()


class SwarmSeen(EventBase):
    """All living peers, this one included, told about once a second where somebody watches. It stands in no file."""

    event: Literal["swarm"] = "swarm"
    peers: tuple[PeerSeen, ...]


class NodeChanged(EventBase):
    """The process beside the trainer went down, was started again, and is reachable again at other addresses.

    addresses: with `ready`, those under which others reach this peer from now on, in place of those of `started`.
    """

    event: Literal["node"] = "node"
    state: Literal["ready", "down", "restarted"]
    reason: Text = ""
    pid: Count | None = None
    addresses: tuple[Text, ...] = ()


class CheckpointSaved(EventBase):
    """A checkpoint is whole and on disk."""

    event: Literal["checkpoint"] = "checkpoint"
    step: Count
    path: Text


class CheckpointFailed(EventBase):
    """A checkpoint could not be saved; training goes on, unless it was the `final` one."""

    event: Literal["checkpoint_failed"] = "checkpoint_failed"
    step: Count
    reason: Text
    final: bool = False


class Notice(EventBase):
    """Anything else that a person should read."""

    event: Literal["notice"] = "notice"
    level: Literal["info", "warning"] = "info"
    message: Text


class Finished(EventBase):
    """The end of the run, and why. `bytes_sent` is the total.

    merged_with: how many others were in the last round; 0 where this peer ended alone, None without a swarm.
    saved_in: the last checkpoint, with what was learnt; None where it could not be saved.
    """

    event: Literal["finished"] = "finished"
    step: Count
    seconds: Number
    rounds: Count
    bytes_sent: Count
    loss: float | None = None
    accuracy: float | None = None
    reason: Literal["steps", "epochs", "seconds", "interrupted", "non-finite loss"]
    merged_with: Count | None = None
    saved_in: Text | None = None


Event: TypeAlias = (
    Started
    | Joined
    | StepDone
    | RoundCommitted
    | RoundFailed
    | RoundRefused
    | Evaluated
    | PeerChanged
    | SwarmSeen
    | NodeChanged
    | CheckpointSaved
    | CheckpointFailed
    | Notice
    | Finished
)
EVENT_KINDS: dict[str, type[Event]] = {kind.model_fields["event"].default: kind for kind in get_args(Event)}
"""The class of each tag."""


def event_to_json(event: Event) -> str:
    """The event as one line of JSON, without the line break. Numbers that are not finite become null."""
    return event.model_dump_json()


def event_from_json(line: str | bytes) -> Event | None:
    """The event of one line, or None where its tag is unknown: a newer writer does not break an older reader.

    Unknown fields of a known event are passed over for the same reason. Raises ValueError where the line is longer
    than `MAX_LINE_CHARS`, is no JSON object, or lacks what the event needs.
    """
    if len(line) > MAX_LINE_CHARS:
        raise ValueError(f"an event of {len(line)} characters is longer than the {MAX_LINE_CHARS} that are read")
    try:
        content = json.loads(line)
    except RecursionError:
        raise ValueError("an event is nested too deeply") from None
    if not isinstance(content, dict) or not isinstance(content.get("event"), str):
        raise ValueError("a line is no event: a JSON object with the text `event` is expected")
    kind = EVENT_KINDS.get(content["event"])
    if kind is None:
        return None
    if "time" not in content:
        raise ValueError(f"the event {content['event']!r} has no time")
    try:
        return kind.model_validate({name: value for name, value in content.items() if name in kind.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"the event {content['event']!r} is not as it should be: {field}: {first['msg']}") from error
