"""What a person sees who looks for a fault: real processes with their logs and traces."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from gossiptrain import events
from tests.processes import GOSSIP, Command, Family

SHORT = ("--max-steps", "50", "--eval-every", "0")


def test_debugging_shows_what_node_and_daemon_say(family: Family) -> None:
    peer = family.train(*SHORT, "--out", "run", environment={"GOSSIPTRAIN_DEBUG": "1"})
    assert peer.wait() == 0, peer.err
    assert "DEBUG gossiptrain.net.libp2p: p2pd: " in peer.err
    assert "INFO gossiptrain.node: started the node" in peer.err
    assert "listens at ('/ip4/127.0.0.1/tcp/" in peer.err
    assert not (family.folder / "run" / "log.txt").exists()


def test_usually_nothing_is_logged(family: Family) -> None:
    peer = family.train(*SHORT)
    assert peer.wait() == 0
    assert "gossiptrain." not in peer.err


def test_the_log_of_a_swarm_tells_who_was_let_in_and_what_became_of_rounds(family: Family) -> None:
    first = family.train("--every-steps", "50", "--log-level", "info", "--trace", "trace.jsonl")
    second = family.train("--every-steps", "50", "--log-level", "swarm=info", "--initial-peer", first.address())
    first.wait_for(events.RoundCommitted)
    second.kill()
    first.wait_for(events.PeerChanged, lambda event: event.change == "lost")
    for words in (
        f"INFO gossiptrain.swarm: {second.peer_id()} admitted",
        "INFO gossiptrain.training: a round begins at step",
        "committed, samples of the members",
        f"INFO gossiptrain.swarm: {second.peer_id()} is here",
    ):
        assert words in first.err, words
    # Which of the two coordinates and which of them leads, nobody knows beforehand.
    assert "INFO gossiptrain.swarm: round " in first.err + second.err, "the groups stand in the coordinator's log"
    assert "Commit(disagreement=" in first.err + second.err, "the verdict stands in the leader's log"
    assert "gossiptrain.training" not in second.err
    traced = [json.loads(line) for line in (family.folder / "trace.jsonl").read_text().splitlines()]
    assert {line["peer"] for line in traced} == {second.peer_id()}
    assert {"Hello", "Welcome", "HeartbeatSummary", "HeartbeatReply", "StateRequest", "Report"} <= {
        line["kind"] for line in traced
    }
    assert {line["direction"] for line in traced} == {"sent", "received"}


def test_under_the_live_view_the_log_goes_to_the_run_folder(family: Family) -> None:
    arguments = ["train", "digits", *SHORT, "--out", "run", "--log-level", "info", "--threads", "1", "--device", "cpu"]
    command = shlex.join([str(GOSSIP), *arguments, "--host-maddr", "/ip4/127.0.0.1/tcp/0"])
    spawn = f"import pty, shlex, sys; sys.exit(pty.spawn(shlex.split({command!r})) >> 8)"
    peer = family.start(program=[sys.executable, "-c", spawn], environment={"TERM": "xterm", "COLUMNS": "100"})
    assert peer.wait() == 0, peer.err
    logged = (family.folder / "run" / "log.txt").read_text()
    assert "INFO gossiptrain.node: started the node" in logged
    assert "listens at" in logged
    assert "gossiptrain.node" not in peer.out + peer.err


def test_a_wrong_level_is_refused_before_anything_begins(gossip: Command) -> None:
    ended = gossip.train("--log-level", "loud")
    assert ended.code == 2
    assert "There is no log level 'loud'" in ended.err
    assert not Path("runs").exists()


def test_a_trace_that_cannot_be_written_is_refused_before_anything_begins(gossip: Command) -> None:
    ended = gossip.train("--trace", "nowhere/trace.jsonl")
    assert ended.code == 2
    assert "nowhere/trace.jsonl cannot be written" in ended.err
    assert not Path("runs").exists()
