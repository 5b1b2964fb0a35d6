"""Decoders of files that a peer keeps, which others, or a failing disk, may have written.

Owns how each is called on any content, and valid content by the real writers. Where a checksum stands over something,
it is made anew, so that what is inside is read. One temporary folder for all.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from gossiptrain import events
from gossiptrain.cli.options import read_settings
from gossiptrain.config import GossipSettings, NetworkSettings, layered
from gossiptrain.errors import CheckpointError, GossipError, UsageError
from gossiptrain.integrations.state_file import STATE_FILE as HOST_STATE_FILE
from gossiptrain.integrations.state_file import read_state, write_state
from gossiptrain.net.identity import Identity, _read_key
from gossiptrain.net.incarnation import _last
from gossiptrain.net.transport import PeerId
from gossiptrain.node.control import PeerChanged
from gossiptrain.node.kept_membership import KeptMembership
from gossiptrain.node.kept_peers import KeptPeers
from gossiptrain.node.living_peers import LivingPeer
from gossiptrain.node.living_peers import _read as read_living_peer
from gossiptrain.node.own_swarms import OwnSwarm, OwnSwarms
from gossiptrain.training.runs.checkpoint_files import _digest_of, _size_and_digest, read_checkpoint
from gossiptrain.training.runs.checkpoint_folders import MODEL_FILE, OPTIMIZER_FILE, STATE_FILE
from gossiptrain.training.runs.checkpoint_state import RunState
from gossiptrain.training.runs.checkpoints import CheckpointWriter
from gossiptrain.training.runs.exported import ModelArguments, ModelDescription, read_export, write_export
from gossiptrain.training.runs.folder import RunFolder
from gossiptrain.training.settings import TrainSettings
from tests.fuzz.decoder import Decoder
from tests.fuzz.on_the_network import ADDRESSES, PEER
from tests.swarm.founders import Founder
from tests.test_events import ALL as EVENTS

_PLACE = tempfile.TemporaryDirectory(prefix="gossiptrain-fuzz-")
"""It is removed at the end of the process."""


def _file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def decode(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return decode


class _Checkpoint:
    """A small checkpoint, of which one file at a time is replaced."""

    def __init__(self, folder: Path) -> None:
        model = nn.Linear(2, 2)
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.zeros(1, 2)).sum().backward()
        optimizer.step()
        extra = {"outer": {"a": torch.zeros(2)}, "numbers": (1, 2.0, float("inf")), "by": {3: None}}
        state = RunState(task="digits", fingerprint="ab", step=2, extra=extra)
        self.path = CheckpointWriter(folder).save(model, optimizer, state=state)
        self.parts = {name: (self.path / name).read_bytes() for name in (STATE_FILE, MODEL_FILE, OPTIMIZER_FILE)}
        self._model, self._optimizer = model, optimizer

    def state(self) -> bytes:
        """Its state, without what is as long as dull: where numpy's and torch's generators stand."""
        return self.parts[STATE_FILE]

    def take_state(self, data: bytes) -> None:
        """With the checksum that belongs to it, where it is JSON at all."""
        try:
            content = json.loads(data)
            content.pop("sha256", None)
            data = json.dumps({**content, "sha256": _digest_of(content)}).encode()
        except (ValueError, AttributeError, RecursionError, TypeError):
            pass
        self._read(STATE_FILE, data)

    def take_tensors(self, data: bytes) -> None:
        """With the size and the checksum that belong to them."""
        (self.path / MODEL_FILE).write_bytes(data)
        content = json.loads(self.parts[STATE_FILE])
        content.pop("sha256")
        content["files"][MODEL_FILE] = _size_and_digest(self.path / MODEL_FILE)
        (self.path / STATE_FILE).write_text(json.dumps({**content, "sha256": _digest_of(content)}))
        self._read(MODEL_FILE, data)

    def _read(self, name: str, data: bytes) -> None:
        try:
            (self.path / name).write_bytes(data)
            checkpoint = read_checkpoint(self.path)
            checkpoint.apply(self._model, self._optimizer, random_states=False)
        finally:
            for part in {name, STATE_FILE}:
                (self.path / part).write_bytes(self.parts[part])


def _settings(path: Path) -> None:
    tables = read_settings(path)
    layered(GossipSettings, {}, tables.get("gossip", {}))
    layered(NetworkSettings, {}, tables.get("network", {}))
    layered(TrainSettings, {"task": "digits"}, tables.get("train", {}))


def _membership(path: Path) -> None:
    kept = KeptMembership.read(path)
    assert kept is not None
    kept.holding(PeerId(PEER))


def _kept_peers(path: Path) -> None:
    kept = KeptPeers(path)
    assert len(kept.known) <= 64 * 16


def _host_state(path: Path) -> None:
    read_state(path.parent)


def _settings_file(folder: Path) -> bytes:
    run = RunFolder.create(folder / "run", "run")
    with run:
        run.write_config(
            {
                "gossip": GossipSettings().model_dump(mode="json"),
                "network": NetworkSettings().model_dump(mode="json"),
                "train": TrainSettings(task="digits").model_dump(mode="json"),
            }
        )
        return run.config.read_bytes()


def _exported(folder: Path) -> Path:
    """The description of an exported model."""
    description = ModelDescription(
        gossiptrain="0.1.0",
        task="text",
        arguments=ModelArguments(model="nano", classes=3),
        fingerprint="text/transformer",
        step=9,
        inputs="bytes",
        class_names=("cat", "dog"),
        vocabulary="bytes",
    )
    return write_export(folder / "model.safetensors", {"a": torch.zeros(2)}, description)


def decoders() -> list[Decoder]:
    """All of this file."""
    folder = Path(_PLACE.name)
    return [*_checkpoints(folder), *_kept(folder)]


def _checkpoints(folder: Path) -> list[Decoder]:
    checkpoint = _Checkpoint(folder)
    write_state(folder, {"step": 3, "outer": {"a": torch.zeros(2)}, "pair": (1, float("nan"))})
    host_state = (folder / HOST_STATE_FILE).read_bytes()
    settings, exported = _settings_file(folder), _exported(folder)
    rooms = tuple(f"training/runs/checkpoint_{name}.py" for name in ("files", "values", "state"))
    return [
        Decoder(
            "checkpoint-states",
            checkpoint.take_state,
            [checkpoint.state()],
            (*rooms, "training/runs/random_states.py"),
            (CheckpointError,),
        ),
        Decoder(
            "checkpoint-tensors",
            checkpoint.take_tensors,
            [checkpoint.parts[MODEL_FILE]],
            rooms,
            (CheckpointError,),
            4096,
        ),
        Decoder(
            "states-of-hosts",
            _file(folder / HOST_STATE_FILE, _host_state),
            [host_state],
            ("integrations/state_file.py",),
            (CheckpointError,),
            4096,
        ),
        Decoder(
            "exported-models",
            _file(exported, read_export),
            [exported.read_bytes()],
            ("training/runs/exported.py",),
            (CheckpointError,),
            1 << 14,
        ),
        Decoder(
            "settings",
            _file(folder / "config.toml", _settings),
            [settings],
            ("cli/options.py",),
            (GossipError,),
            1 << 14,
        ),
    ]


def _kept(folder: Path) -> list[Decoder]:
    founder, swarms = Founder(), OwnSwarms(folder / "swarms")
    swarms.found("run")
    swarms.revoke("run", b"a" * 32)
    path = swarms.path("run")
    link = founder.link()
    membership = KeptMembership(link=link.encode(), credential=link.credential(PeerId(PEER)).encode().hex())
    living = LivingPeer(peer=PEER, pid=1, digest="ab", task="digits", addresses=[ADDRESSES[0]], others=[ADDRESSES[1]])
    peers = KeptPeers(folder / "peers.json")
    peers.note(PeerChanged(change="joined", peer=PEER, addresses=ADDRESSES[:3], peers=1, trainers=1))
    peers.write(at_once=True)

    def own_swarm(file: Path) -> None:
        swarm = swarms._read(file)
        assert swarm is not None
        swarm.holding(PeerId(PEER))

    return [
        Decoder(
            "kept-peers",
            _file(folder / "peers.json", _kept_peers),
            [(folder / "peers.json").read_bytes()],
            ("node/kept_peers.py", "swarm/address_book.py"),
            (),
        ),
        Decoder(
            "kept-memberships",
            _file(folder / "membership.key", _membership),
            [membership.model_dump_json().encode()],
            ("node/kept_membership.py",),
            (UsageError,),
            32 << 10,
        ),
        Decoder(
            "own-swarms",
            _file(path, own_swarm),
            [path.read_bytes(), OwnSwarm.new("run").model_dump_json().encode()],
            ("node/own_swarms.py",),
            (UsageError,),
        ),
        Decoder(
            "living-peers",
            _file(folder / "x.peer", read_living_peer),
            [living.model_dump_json().encode()],
            ("node/living_peers.py",),
            (),
            64 << 10,
        ),
        Decoder(
            "incarnations",
            _file(folder / "incarnation", _last),
            [b"1800000000000000\n"],
            ("net/incarnation.py",),
            (),
            64,
        ),
        Decoder(
            "identities",
            _file(folder / "identity", _read_key),
            [Identity.generate().to_protobuf()],
            ("net/identity.py",),
            (UsageError,),
            128,
        ),
        Decoder(
            "events",
            events.event_from_json,
            [events.event_to_json(event).encode() for event in EVENTS],
            ("events.py",),
            (ValueError,),
        ),
    ]
