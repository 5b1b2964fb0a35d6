"""Peers of the command line, as real processes: they join, average, are killed, and others take their place."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import torch

from gossiptrain import events
from gossiptrain.training.runs.checkpoints import load_checkpoint
from tests.processes import Command, Family, Peer, free_port, wait_until
from tests.training.tasks.image_trees import write_tree

ROOT = Path(__file__).parents[2]
FAREWELL_WITHIN_S = 10.0


def wait_for_round_of(*peers: Peer) -> None:
    """Waits until each of the peers has told a committed round with all the others."""
    together = {peer.peer_id() for peer in peers}
    for peer in peers:
        since = peer.told() if peer.find(events.RoundCommitted) else 0
        peer.wait_for(events.RoundCommitted, lambda event: together <= set(event.members), since=since)


def wait_for_steps(peer: Peer) -> None:
    """Waits until the peer has made further steps."""
    peer.wait_for(events.StepDone, since=peer.told())


def metrics(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_peers_join_average_are_killed_and_are_replaced(family: Family, gossip: Command, tmp_path: Path) -> None:
    first = family.train("--every-steps", "50", "--out", "first")
    second = family.train("--every-steps", "50", "--out", "second", "--initial-peer", first.address())
    joined = second.wait_for(events.Joined)
    assert joined.donor == first.peer_id()
    assert joined.step > 0
    assert joined.bytes == 2 * 4 * 17_226, "parameters and momentum"
    wait_for_round_of(first, second)
    assert first.find(events.Started)[0].first
    assert not second.find(events.Started)[0].first

    first.kill()
    lost = first.peer_id()
    second.wait_for(events.PeerChanged, lambda event: (event.peer_id, event.change) == (lost, "lost"))
    wait_for_steps(second)

    third = family.train("--every-steps", "50", "--out", "third", "--initial-peer", second.address())
    joined = third.wait_for(events.Joined)
    assert joined.donor == second.peer_id()
    assert joined.step > 0
    wait_for_round_of(second, third)

    told, gone = second.told(), third.peer_id()
    third.signal(signal.SIGTERM)
    assert third.wait(within_s=FAREWELL_WITHIN_S) == 0, third.err
    second.wait_for(events.PeerChanged, lambda event: (event.peer_id, event.change) == (gone, "left"), since=told)
    wait_for_steps(second)
    second.signal(signal.SIGINT)
    assert second.wait(within_s=FAREWELL_WITHIN_S) == 0, second.err
    family.assert_gone(within_s=2.0)
    assert family.left_folders() == [], "what the killed one left, the next start removed"

    rounds = [event for event in metrics(tmp_path / "second") if event["event"] == "round"]
    assert rounds[0].keys() >= {"event", "time", "round", "members", "seconds", "bytes_sent"}
    assert len(rounds) == len(second.find(events.RoundCommitted))
    for peer, name in ((second, "second"), (third, "third")):
        (finished,) = peer.find(events.Finished)
        assert finished.reason == "interrupted"
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        assert (summary["step"], summary["rounds"]) == (finished.step, finished.rounds)
        assert load_checkpoint(tmp_path / name).state.step == finished.step
    assert gossip("eval", "second", "third").code == 0
    assert [peer.err for peer in (second, third)] == ["", ""]


def test_peers_that_end_soon_after_each_other_merge_once_more_together(family: Family, tmp_path: Path) -> None:
    common = ("--wait-for", "2", "--max-steps", "3000", "--every-steps", "200", "--eval-every", "0")
    slow = family.train(*common, "--batch", "128", "--out", "slow")
    quick = family.train(*common, "--batch", "8", "--out", "quick", "--initial-peer", slow.address())
    assert [peer.wait(within_s=60.0) for peer in (slow, quick)] == [0, 0]
    last = [peer.find(events.RoundCommitted)[-1] for peer in (slow, quick)]
    assert last[0].final
    assert (last[0].round, set(last[0].members)) == (last[1].round, {slow.peer_id(), quick.peer_id()})
    for folder in ("slow", "quick"):
        summary = json.loads((tmp_path / folder / "summary.json").read_text())
        assert (summary["merged"], summary["step"]) == (True, 3000)
    one, other = (load_checkpoint(tmp_path / folder).model_state() for folder in ("slow", "quick"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_who_trains_something_else_is_told_what_differs_and_who_diverges_sends_nothing(
    family: Family, gossip: Command
) -> None:
    first = family.train("--every-steps", "50", "--out", "first")
    peer = ("--initial-peer", first.address())

    ended = gossip.train(*peer, "--run", "other")
    assert ended.code == 14
    assert f"The peer {first.peer_id()} takes part in another run" in ended.err
    assert "the run differs: 'other' here, 'digits' there" in ended.err

    write_tree(Path("photos"))
    photos = ("--data-dir", "photos", "--image-size", "32", "--batch", "4")
    ended = gossip.train(*peer, *photos, "--run", "digits", task="imagenet")
    assert ended.code == 14
    assert "the task differs: 'imagenet/resnet18/32/" in ended.err
    assert "'digits/mlp 64-128-64-10' there" in ended.err

    ended = gossip.train(*peer, "--lr", "1000", "--every-steps", "1000000", "--out", "wild")
    assert ended.code == 41
    assert "nothing was sent to other peers" in ended.err
    assert not first.find(events.RoundCommitted)
    wait_for_steps(first)


def test_statistics_that_were_fixed_are_averaged_at_the_end_and_not_estimated_anew(
    family: Family, tmp_path: Path
) -> None:
    photos = write_tree(tmp_path / "photos")
    flags = (
        *("--data-dir", str(photos), "--image-size", "32", "--batch", "4", "--every-steps", "3", "--max-steps", "12"),
        *("--fix-statistics", "0.5", "--wait-for", "2", "--open"),
    )
    first = family.train(*flags, "--out", "first", task="imagenet")
    second = family.train(*flags, "--out", "second", "--initial-peer", first.address(), task="imagenet")
    assert [peer.wait(within_s=120.0) for peer in (first, second)] == [0, 0]
    one, other = (load_checkpoint(tmp_path / name).model_state() for name in ("first", "second"))
    assert all(torch.equal(values, other[name]) for name, values in one.items())
    seen = {int(values) for name, values in one.items() if name.endswith("num_batches_tracked")}
    assert seen == {6}, "of twelve batches the first half"


def test_a_peer_keeps_its_port_and_its_identity_over_restarts_and_says_how_to_join(gossip: Command) -> None:
    place = f"/ip4/127.0.0.1/tcp/{free_port()}"
    flags = ["--preset", "local", "--log-format", "plain", "--host_maddr", place]
    ended = gossip("train", "digits", *flags, "--max-steps", "5", "--out", "run")
    assert ended.code == 0
    joining = next(line for line in ended.out.splitlines() if "this computer" in line)
    assert f" train digits --preset local --max-steps 5 --initial-peer {place}/p2p/12D3KooW" in joining
    assert "the internet   not possible yet" in ended.out
    again = gossip("train", "digits", "--log-format", "plain", "--resume", "run", "--max-steps", "9")
    assert again.code == 0
    assert joining.replace("--max-steps 5", "--max-steps 9") in again.out.splitlines()


def test_an_interrupt_before_training_has_begun_ends_quietly(family: Family, tmp_path: Path) -> None:
    peer = family.train("--out", "run")
    wait_until((tmp_path / "run" / ".lock").exists, "the trainer is being made")
    peer.signal(signal.SIGINT)
    assert peer.wait(within_s=FAREWELL_WITHIN_S) in (0, 130)
    assert "Traceback" not in peer.err
    family.assert_gone(within_s=2.0)


def test_the_lines_of_two_terminals_on_the_real_cifar10(family: Family, real_cifar: Path) -> None:
    """With small batches, so that rounds come soon; everything else is as it is written in the documents."""

    def terminal(name: str, *arguments: str) -> Peer:
        return family.start(
            *("src/trainGossipCifar.py", *arguments, "--batch", "4", "--every_steps", "3", "--threads", "1"),
            *("--log-format", "json", "--device", "cpu", "--out", str(family.folder / name)),
            program=[sys.executable],
            cwd=ROOT,
            environment={"GOSSIPTRAIN_DATA": str(real_cifar)},
        )

    first = terminal("one", "--host_maddr", f"/ip4/0.0.0.0/tcp/{free_port()}")
    assert first.wait_for(events.Started).task.startswith("cifar10/")
    second = terminal("two", "--initial_peer", first.address(), "--host_maddr", f"/ip4/0.0.0.0/tcp/{free_port()}")
    assert second.wait_for(events.Joined).seconds < 10.0
    wait_for_round_of(first, second)
    first.kill()
    wait_for_steps(second)
    third = terminal("three", "--initial_peer", second.address())
    assert third.wait_for(events.Joined).donor == second.peer_id()
    wait_for_round_of(second, third)
    for peer in (second, third):
        peer.signal(signal.SIGTERM)
    assert [peer.wait(within_s=FAREWELL_WITHIN_S) for peer in (second, third)] == [0, 0]
    family.assert_gone(within_s=2.0)
    assert load_checkpoint(family.folder / "two").state.task == "cifar10"
