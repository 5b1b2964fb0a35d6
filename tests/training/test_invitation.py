"""An invitation goes together with the rest of what is set, or is refused in words that do not quote it."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
import torch
from torch import nn

from gossiptrain.config import NetworkSettings
from gossiptrain.errors import RunMismatchError, UsageError
from gossiptrain.node.kept_membership import KeptMembership
from gossiptrain.training.gossip import gossip
from gossiptrain.training.invitation import invitation_of, link_in
from tests.swarm.founders import ADDRESS, Founder

FOUNDER = Founder()
LINK = FOUNDER.link()
TEXT = LINK.encode()
OTHER = ADDRESS.replace("4011", "4012")


def test_a_link_brings_addresses_and_the_name_of_the_run() -> None:
    found = invitation_of(TEXT, NetworkSettings(initial_peers=(OTHER,)), run=None)
    assert (found.run, found.link, found.digest) == ("run", TEXT, LINK.digest)
    assert found.network.initial_peers == (ADDRESS, OTHER)
    assert TEXT.partition("#")[2] not in repr(found)


def test_without_a_link_all_is_as_it_was() -> None:
    network = NetworkSettings(initial_peers=(OTHER,))
    found = invitation_of(None, network, run=None)
    assert (found.network, found.run, found.link) == (network, "default", "")
    assert invitation_of(None, network, run="mine").run == "mine"


def test_what_was_kept_of_a_link_is_used_again_and_its_addresses_need_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "membership.key"
    network = NetworkSettings(membership_path=str(path))
    assert invitation_of(None, network, run="run").link == ""
    KeptMembership(link=TEXT).write(path)
    found = invitation_of(None, network, run="run")
    assert found.link == TEXT
    assert found.network.known_peers == (ADDRESS,)
    assert found.network.initial_peers == ()
    assert invitation_of(None, network.model_copy(update={"open": True}), run="run").link == ""
    path.write_bytes(b"{}")
    with pytest.raises(UsageError, match="cannot be used"):
        invitation_of(None, network, run="run")


@pytest.mark.parametrize(
    ("join", "network", "run", "words"),
    [
        (TEXT, NetworkSettings(open=True), None, "private swarm"),
        (TEXT, NetworkSettings(), "other", "for the run 'run', not for 'other'"),
        (FOUNDER.link(role="helper").encode(), NetworkSettings(), None, "for a helper"),
        (TEXT[:-1], NetworkSettings(), None, "cannot be used"),
    ],
)
def test_what_does_not_go_together_is_refused(join: str, network: NetworkSettings, run: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        invitation_of(join, network, run=run)
    assert join.partition("#")[2][:24] not in str(refused.value)


def test_a_link_is_read_from_standard_input_and_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = f"gossip train digits --join '{TEXT}'\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    assert link_in("-") == TEXT
    (tmp_path / "link").write_text(line)
    assert link_in(f"@{tmp_path / 'link'}") == TEXT
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    for nowhere in ("-", f"@{tmp_path / 'none'}"):
        with pytest.raises(UsageError):
            link_in(nowhere)


def test_a_link_to_another_model_is_refused_before_anything_is_started() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RunMismatchError, match="another task, model, strategy or version"):
        gossip(model, optimizer, join=TEXT)
    ours = gossip(model, optimizer, run="run").fingerprint
    joined = gossip(model, optimizer, join=dataclasses.replace(LINK, digest=ours.key).encode())
    assert joined.fingerprint == ours
    assert joined.network.initial_peers == (ADDRESS,)
