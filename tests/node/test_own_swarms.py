"""The user's own private swarms: founded once, kept for the user alone, and found again by name."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gossiptrain.errors import UsageError
from gossiptrain.net.transport import PeerId
from gossiptrain.node.living_peers import LivingPeer, LivingPeers
from gossiptrain.node.own_swarms import MadeInvite, OwnSwarms, usual_folder
from gossiptrain.swarm.access.tokens import digest_of

ALICE = PeerId("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA")
HERE = f"/ip4/127.0.0.1/tcp/4011/p2p/{ALICE}"


@pytest.fixture
def swarms(tmp_path: Path) -> OwnSwarms:
    return OwnSwarms(tmp_path / "state" / "swarms")


def test_a_swarm_is_founded_once_and_found_again_by_the_name_of_its_run(swarms: OwnSwarms) -> None:
    assert swarms.find("my run") is None
    first = swarms.found("my run")
    assert swarms.found("my run") == first
    assert swarms.find("my run") == first
    assert swarms.found("my-run").seed != first.seed
    assert {swarm.run for swarm in swarms.all()} == {"my run", "my-run"}


def test_those_come_first_that_were_used_last(swarms: OwnSwarms) -> None:
    for hour, run in enumerate(("oldest", "old", "new")):
        swarms.found(run)
        os.utime(swarms.path(run), (3600 * hour, 3600 * hour))
    assert [swarm.run for swarm in swarms.all()] == ["new", "old", "oldest"]
    peer = LivingPeer(peer=ALICE, pid=os.getpid(), digest="ab" * 16, task="digits", addresses=[HERE], others=[])
    LivingPeers(swarms, "oldest").tell(peer)
    assert [swarm.run for swarm in swarms.all()] == ["oldest", "new", "old"], "a peer of it lives here now"


def test_peers_that_start_at_one_moment_found_one_swarm(swarms: OwnSwarms) -> None:
    with ThreadPoolExecutor(8) as threads:
        founded = list(threads.map(lambda _: OwnSwarms(swarms.folder).found("run").seed, range(8)))
    assert len(set(founded)) == 1


def test_nobody_else_can_read_them(swarms: OwnSwarms) -> None:
    swarms.found("run")
    assert swarms.folder.stat().st_mode & 0o777 == 0o700
    assert swarms.path("run").stat().st_mode & 0o777 == 0o600
    assert [path for path in swarms.folder.iterdir() if path.stat().st_mode & 0o077] == []


def test_one_that_others_can_read_is_not_used(swarms: OwnSwarms) -> None:
    swarms.found("run")
    os.chmod(swarms.path("run"), 0o644)
    with pytest.raises(UsageError, match="not this user's alone"):
        swarms.find("run")


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 5000, b"x" * (2 << 20)])
def test_a_damaged_file_is_refused_and_not_replaced(swarms: OwnSwarms, content: bytes) -> None:
    secret = swarms.found("run").secret
    path = swarms.path("run")
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is not usable") as refused:
        swarms.found("run")
    assert path.read_bytes() == content
    assert secret not in str(refused.value)


def test_its_peers_are_members_and_nothing_secret_is_shown_of_it(swarms: OwnSwarms) -> None:
    swarm = swarms.found("run")
    holding = swarm.holding(ALICE)
    assert holding.credential.is_of(ALICE, swarm.authority.swarm)
    assert holding.authority is not None
    for text in (repr(swarm), str(swarm), repr(holding)):
        assert swarm.seed not in text
        assert swarm.secret not in text
        assert repr(bytes.fromhex(swarm.secret)) not in text


def test_invites_and_revocations_are_remembered(swarms: OwnSwarms) -> None:
    swarms.found("run")
    made = MadeInvite(key="ab" * 32, made_s=1, not_after_s=2, uses=3, role="trainer")
    swarms.note_invite("run", made)
    first = swarms.revoke("run", digest_of(ALICE))
    second = swarms.revoke("run", bytes.fromhex(made.key))
    kept = swarms.find("run")
    assert kept is not None
    assert kept.invites == [made]
    assert kept.revoked == second
    assert (first.serial, second.serial) == (1, 2)
    assert second.is_of(kept.authority.swarm)
    with pytest.raises(UsageError, match="has founded no private swarm"):
        swarms.revoke("another", digest_of(ALICE))


def test_the_folder_is_the_users_for_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert usual_folder() == tmp_path / "gossiptrain" / "swarms"


def living(pid: int) -> LivingPeer:
    return LivingPeer(peer=ALICE, pid=pid, digest="ab", task="digits/mlp", addresses=[HERE], others=[])


def test_peers_that_live_are_told_from_those_that_have_ended(swarms: OwnSwarms) -> None:
    swarms.found("run")
    told = LivingPeers(swarms, "run")
    assert told.living() == []
    told.tell(living(os.getpid()))
    told.tell_command(ALICE, "gossip train digits")
    assert told.living() == [living(os.getpid())]
    assert told.command(ALICE) == "gossip train digits"
    told.tell(living(2**22 + 1))  # more than any process has
    assert told.living() == []
    assert told.command(ALICE) is None
    assert swarms.find("run") is not None
