"""The settings of a peer: typed, validated, frozen.

Owns names, defaults, ranges and presets, and how settings from several sources become one. Does not know the command
line, files or the network; what is said of a wrong value is `wrong_values`. Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gossiptrain.errors import UsageError
from gossiptrain.wrong_values import in_words

PositiveSeconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
SettingsT = TypeVar("SettingsT", bound="Settings")
_AS_THEY_ARE: Mapping[str, str] = {}
Preset = Literal["local", "lan", "wan"]
DirectMode = Literal["auto", "direct", "libp2p"]
CodecName = Literal["fp32", "fp16", "bf16", "int8", "int4"]
GroupingName = Literal["auto", "crossed", "random", "grid", "exponential", "all"]
GuardName = Literal["off", "result", "clip"]
MOST_FRAGMENTS = 256
StrategyName = Literal["average", "gradual", "step-mix", "diloco", "noloco", "sync"]


class Settings(BaseModel):
    """Base of all settings: immutable, and a misspelt name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    alternatives: ClassVar[tuple[frozenset[str], ...]] = ()
    """Settings that can take each other's place."""


class GossipSettings(Settings):
    """Who averages with whom, how often, and how much of the average is taken."""

    alternatives = (frozenset({"every_steps", "every_seconds"}),)

    gossip_group_size: Annotated[int, Field(ge=2, le=64)] = 16
    """Most peers that average together in one round. Larger: more consensus per round, more traffic."""
    gossip_min_group_size: Annotated[int, Field(ge=2, le=16)] = 2
    """Fewest peers with which a round takes place. Larger: steadier rounds, less flexible. The same for all peers."""
    grouping: GroupingName = "auto"
    """Who meets whom: random groups, a grid, exponential pairs, everyone in one group of up to 64, or what suits the
    number of peers; see `core.grouping`. The same for all peers of a run."""
    gossip_alpha: Annotated[float, Field(ge=0.1, le=1.0)] = 1.0
    """Share of the way from the own snapshot to the average: 1.0 takes the whole average, less is softer."""
    strategy: StrategyName | None = None
    """What is sent in a round and what becomes of the average; see `training.model.strategies`. The same for all
    peers. None: what suits the task; in loops of one's own `gradual`, and `average` for models of which a part is
    frozen, in half precision, or larger than 128 MiB."""
    outer_learning_rate: Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)] | None = None
    """Of the outer step, for strategies that have one. None: what suits the strategy."""
    outer_momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Of the outer step. None: what suits the strategy."""
    outer_immediate: Annotated[float, Field(gt=0, le=4, allow_inf_nan=False)] | None = None
    """How many times what was learnt in a round the outer step moves the model at once; its momentum brings the rest,
    up to learning rate / (1 - momentum) times, in the rounds that follow. None: what suits the strategy."""
    every_steps: Annotated[int, Field(ge=1)] | None = None
    """Inner steps between two rounds (H). None: rounds are timed by `every_seconds`."""
    every_seconds: PositiveSeconds | None = None
    """Seconds between two rounds. With both set, whichever comes first."""
    matchmaking_time: PositiveSeconds = 5.0
    """Longest wait for a straggler before a group starts without it."""
    ending_time: PositiveSeconds = 10.0
    """How long a peer that has made its last step waits for others that end, too, so that all end with one model."""
    codec: CodecName | None = None
    """How values travel. fp16 and bf16 halve the bytes, int8 quarters them, int4 takes an eighth; a group whose members
    differ uses fp32. None: fp32, and for a model that is in bf16 or fp16 throughout and averaged plainly its own
    precision, by which it loses nothing."""
    guard: GuardName = "off"
    """What becomes of values that are unusually far from the own ones; see `core.movement`. `result`: a round whose
    average is too far away is not applied. `clip`: contributions count no further than a radius, and no more of an
    average is taken than is usual; for swarms with members that nobody knows. `off`: all that is finite and not
    absurdly large is applied, so whoever was apart comes together at once. The same for all peers of a run."""
    fragments: Annotated[int, Field(ge=1, le=MOST_FRAGMENTS)] | None = None
    """Parts of the model of which a round carries one, in turn, so that each has its round as often as the settings
    above say; see `core.fragments`. The same for all peers. None: one for each 128 MiB of parameters."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seeds the choice of groups; the same for all peers of a run."""

    @property
    def wire_codec(self) -> CodecName:
        """How values travel where nobody knew better."""
        return self.codec or "fp32"

    @model_validator(mode="after")
    def _minimum_fits_in_group(self) -> Self:
        if self.gossip_min_group_size > self.gossip_group_size:
            raise ValueError(
                f"gossip_min_group_size ({self.gossip_min_group_size}) is larger than "
                f"gossip_group_size ({self.gossip_group_size}): no group could ever start"
            )
        if self.grouping == "exponential" and self.gossip_min_group_size > 2:
            raise ValueError(
                f"grouping exponential makes pairs, which gossip_min_group_size ({self.gossip_min_group_size}) forbids"
            )
        return self

    @model_validator(mode="after")
    def _sync_means_every_step(self) -> Self:
        if self.strategy == "sync" and (self.every_steps or 1) != 1:
            raise ValueError(f"the strategy sync averages after every step, not after {self.every_steps}")
        if self.strategy == "sync" and self.every_seconds is not None:
            raise ValueError(f"the strategy sync averages after every step, not every {self.every_seconds:g} seconds")
        if self.strategy == "sync" and (self.fragments or 1) != 1:
            raise ValueError(
                f"the strategy sync averages all parameters in every round, not one of {self.fragments} parts"
            )
        return self


class TimingSettings(Settings):
    """How long a peer waits for others before it goes on without them."""

    heartbeat_s: PositiveSeconds = 1.0
    """Period in which a peer tells others that it lives."""
    lifetime_s: PositiveSeconds = 5.0
    """A peer whose heartbeat has not advanced for this long counts as gone."""
    dial_timeout_s: PositiveSeconds = 5.0
    """Longest time to open a stream to a peer and hear its first word."""
    stall_timeout_s: PositiveSeconds = 3.0
    """A link on which nothing moves for this long is treated as dead."""
    probe_timeout_s: PositiveSeconds = 1.0
    """Longest wait for the answer to "are you still there?" in the middle of a round."""
    round_timeout_s: PositiveSeconds = 120.0
    """Longest time from the first byte of a round to its end, retries included; where a model is so large that links
    of 2 Mbit/s need longer, as long as they need."""
    directory_s: PositiveSeconds = 20.0
    """Period in which a peer renews its entry in the directory and looks for peers that it does not know."""
    chunk_bytes: Annotated[int, Field(ge=64, le=4 << 20)] = 512 << 10
    """Unit in which tensors are streamed and reduced, at most: the same for all peers."""


PRESETS: dict[Preset, TimingSettings] = {
    "local": TimingSettings(heartbeat_s=0.5, lifetime_s=3.0, stall_timeout_s=2.0, round_timeout_s=60.0),
    "lan": TimingSettings(),
    "wan": TimingSettings(
        heartbeat_s=2.0,
        lifetime_s=12.0,
        dial_timeout_s=15.0,
        stall_timeout_s=10.0,
        probe_timeout_s=4.0,
        round_timeout_s=900.0,
    ),
}


class NetworkSettings(Settings):
    """Where a peer listens and whom it asks first."""

    host_maddrs: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    """Multiaddrs to listen on. Port 0: any free port."""
    announce_maddrs: tuple[str, ...] = ()
    """Addresses to tell others instead of the discovered ones, for example behind a forwarded port."""
    initial_peers: tuple[str, ...] = ()
    """Multiaddrs, with `/p2p/ID`, of living peers of the swarm. Empty: this peer is the first."""
    known_peers: tuple[str, ...] = ()
    """Addresses, as those of initial peers, at which members lived in an earlier life of this peer. They are tried as
    well, again and again; that none of them answers is no error."""
    open: bool = False
    """Whether everybody who knows an address may take part. The same for all peers. By default the swarm is private: it
    takes peers of its founder's user on the same computer, and those that come with a link of `gossip invite`."""
    membership_path: str | None = None
    """File in which an invitation is kept for the next start. None: nowhere."""
    identity_path: str | None = None
    """File of the private key. None: a new identity for this start."""
    peers_path: str | None = None
    """File in which addresses of other peers, and the own port, are kept for the next start. None: nowhere."""
    relay: bool | None = None
    """Whether to be reached through others, as one behind a NAT has to, and to carry for those. None: reached so where
    nobody seems to be able to dial this peer, and carrying where others can. True: always. False: never."""
    local_network: bool = True
    """Whether to make oneself known on the networks to which this computer is attached, where others of the run find
    this peer with no address, and to look there oneself where `search_local_network` asks for it."""
    search_local_network: bool = False
    """Whether to look there for a peer of the run, and to join it; that there is none is an error then."""
    watch: bool = False
    """Whether to ask the other peers, now and then, what they show of themselves, and to tell it as events `swarm`."""
    direct: DirectMode = "auto"
    """How parameters travel: over a direct encrypted connection where one can be made (`auto`), over nothing else
    (`direct`), or always through libp2p's daemon (`libp2p`)."""
    direct_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """TCP port at which direct connections are taken. 0: any free one."""
    upload_limit: Annotated[float, Field(ge=2, le=100_000, allow_inf_nan=False)] | None = None
    """Most Mbit/s (1 Mbit = 125,000 bytes) that this peer sends, its parts of rounds and what it gives to joiners
    together; a link of less takes no part in rounds of large models. What it carries for others as a relay does not
    count. None: no limit."""
    preset: Preset = "lan"
    """Which `TimingSettings` to use: `local` (one computer), `lan` or `wan`."""

    @model_validator(mode="after")
    def _searches_only_where_it_may(self) -> Self:
        if self.search_local_network and not self.local_network:
            raise ValueError(
                "search_local_network looks for peers where local_network = false keeps this one from looking"
            )
        return self

    @property
    def joins(self) -> bool:
        """Whether there should be a swarm already, of which this peer takes over the parameters."""
        return bool(self.initial_peers or self.known_peers or self.search_local_network)

    @property
    def timing(self) -> TimingSettings:
        """The waits that go with the preset."""
        return PRESETS[self.preset]


def layered(
    kind: type[SettingsT], *layers: Mapping[str, Any], called: Mapping[str, str] = _AS_THEY_ARE, remedy: str = ""
) -> SettingsT:
    """Settings of `kind` from the first layer that gives each value; None and empty lists give none.

    Of two settings that can take each other's place, a layer that gives one leaves no room for the other from below.
    called, remedy: as in `validated`. Raises UsageError that names the setting.
    """
    values: dict[str, Any] = {}
    for layer in reversed(layers):
        given = {name: value for name, value in layer.items() if value is not None and value != []}
        for alternatives in kind.alternatives:
            if given.keys() & alternatives:
                values = {name: value for name, value in values.items() if name not in alternatives}
        values.update(given)
    return validated(kind, values, called=called, remedy=remedy)


def checked(kind: type[SettingsT], **values: Any) -> SettingsT:
    """Builds settings of `kind`, leaving out values that are None. Raises UsageError that names the setting."""
    return validated(kind, values)


def validated(
    kind: type[SettingsT], values: Mapping[str, Any], *, called: Mapping[str, str] = _AS_THEY_ARE, remedy: str = ""
) -> SettingsT:
    """The same for values by name.

    called: by field, what the user has typed to give it, such as a flag. remedy: where ranges are told. Raises
    UsageError that names what was typed, says what it may be, and which known name is near.
    """
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return kind(**given)
    except ValidationError as error:
        # Several kinds of value may be allowed, of which each one is missed.
        told = dict.fromkeys(in_words(dict(problem), kind, called) for problem in error.errors())
        raise UsageError(
            " ".join(f"{text.rstrip('.?')}{'?' if text.endswith('?') else '.'}" for text in told),
            remedy=remedy or f"The settings and their ranges: help(gossiptrain.config.{kind.__name__}).",
        ) from error
