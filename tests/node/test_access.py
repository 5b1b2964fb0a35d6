"""What makes a node's peer a member, and what it keeps of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.core.fragments import Fragments
from gossiptrain.net.identity import Identity
from gossiptrain.node import control
from gossiptrain.node.access import access_of
from gossiptrain.node.kept_membership import KeptMembership
from gossiptrain.swarm.access.tokens import NEVER, digest_of
from tests.swarm.founders import Founder
from tests.swarm.swarms import fingerprint

ME, OTHER = Identity.generate().peer_id, Identity.generate().peer_id


def configure(*, join: str = "", run: str = "run", **network: object) -> control.Configure:
    return control.Configure(
        fingerprint=fingerprint(run=run),
        fragments=Fragments((1,)),
        gossip=GossipSettings(),
        network=NetworkSettings.model_validate(network),
        take_state=False,
        join=join,
    )


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_an_open_swarm_needs_nothing(state: Path) -> None:
    assert access_of(configure(open=True), ME) is None
    assert not state.exists()


def test_peers_of_one_user_are_members_of_one_swarm_for_each_run() -> None:
    mine, theirs, another = (
        access_of(configure(), ME),
        access_of(configure(), OTHER),
        access_of(configure(run="b"), OTHER),
    )
    assert mine is not None
    assert theirs is not None
    assert another is not None
    assert mine.founded_here
    mine.check_answer(OTHER, theirs.admit(ME, mine.knock(OTHER)))
    with pytest.raises(Exception, match="unknown"):
        another.admit(ME, mine.knock(OTHER))


def test_where_nothing_can_be_kept_a_peer_trains_all_the_same(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    state.write_text("a file, where a folder should be")
    access = access_of(configure(), ME)
    assert access is not None
    assert access.founded_here
    assert "no other peer can join it" in caplog.text


def test_what_the_founder_gives_is_kept_for_the_next_start(tmp_path: Path) -> None:
    founder, path = Founder(), tmp_path / "membership.key"
    link = founder.link(not_before_s=0, not_after_s=NEVER - 1)
    first = access_of(configure(join=link.encode(), membership_path=str(path)), ME)
    assert first is not None
    assert path.stat().st_mode & 0o077 == 0
    assert not first.founded_here
    own = founder.own(OTHER)
    first.check_answer(OTHER, own.admit(ME, first.knock(OTHER)))
    assert first.learn(founder.revoking(digest_of(OTHER)).encode())
    again = access_of(configure(membership_path=str(path)), ME)
    assert again is not None
    assert again.credential == first.credential
    assert again.credential.invite.not_after_s == NEVER
    assert again.is_revoked(OTHER)
    # With another identity it comes with the link again, and a new link takes the place of the old one.
    another = access_of(configure(membership_path=str(path)), OTHER)
    assert another is not None
    assert another.credential == link.credential(OTHER)
    new = founder.link()
    replaced = access_of(configure(join=new.encode(), membership_path=str(path)), ME)
    assert replaced is not None
    assert replaced.credential == new.credential(ME)
    kept = KeptMembership.read(path)
    assert kept is not None
    assert kept.link == new.encode()
    assert link.encode() not in repr(configure(join=link.encode()))
