"""`gossip demo` as a person or a script runs it: real processes from the first peer to the verdict."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from gossiptrain.cli.demonstration import LEAST_TRAIN_S, TRAIN_S, time_to_train
from gossiptrain.cli.main import EXIT_INTERRUPTED
from gossiptrain.errors import SwarmFailedError, UsageError
from gossiptrain.monitor.page.server import KEY_HEADER
from gossiptrain.training.runs.checkpoints import load_checkpoint
from tests.processes import GOSSIP, Command, Family, Peer, wait_until

REPORT_KEYS = {
    "peers",
    "rounds_committed",
    "seconds",
    "accuracy_alone",
    "accuracy_together",
    "accuracy_merged",
    "disagreement",
    "bytes_sent",
}


def start_demo(family: Family, *arguments: str) -> Peer:
    """A demonstration with a file for its output."""
    return family.start("demo", "--log-format", "plain", *arguments)


def wait_for_word(demo: Peer, word: str) -> None:
    """Until the demonstration says `word`."""
    wait_until(lambda: word in demo.out or demo.process.poll() is not None, word)
    assert word in demo.out, demo.err


def test_a_short_demonstration_from_the_first_peer_to_the_verdict(children: Family) -> None:
    demo = start_demo(children, "--peers", "2", "--seconds", "2", "--report", "report.json", "--log-level", "info")
    code = demo.wait()
    report = json.loads(Path("report.json").read_text())
    assert set(report) == REPORT_KEYS
    assert report["peers"] == 2
    assert [len(report[name]) for name in ("accuracy_alone", "accuracy_together", "bytes_sent")] == [2, 2, 2]
    assert report["rounds_committed"] >= 1
    assert min(report["bytes_sent"]) > 0
    assert report["seconds"] >= 2.0
    assert report["disagreement"] >= 0.0
    # Trained models, however little the computer let them train: guessing would give one in ten.
    assert min(report["accuracy_alone"] + report["accuracy_together"] + [report["accuracy_merged"]]) > 0.3
    assert code in (0, SwarmFailedError.exit_code)
    assert ("The swarm did what it should:" in demo.out) is (code == 0)
    assert ("The swarm did not do what it should:" in demo.err) is (code != 0)

    (run,) = Path("runs").iterdir()
    started = [line for line in (run / "log.txt").read_text().splitlines() if "started the node" in line]
    assert len({line.split()[2] for line in started}) == 2, "one log for all peers, each with its process"
    assert "gossiptrain." not in demo.err
    assert f"--out {run}/peer-a" in demo.out
    assert re.search(rf"gossip train digits --run {run.name} .*--initial-peer /ip4/127.0.0.1/tcp/\d+/p2p/", demo.out)
    for label, share in (("a", "1/2"), ("b", "2/2")):
        assert re.search(rf"^ +{label} +{share} ", demo.out, re.MULTILINE)
        own_steps = load_checkpoint(run / f"peer-{label}").state.extra["own_steps"]
        assert load_checkpoint(run / f"alone-{label}").state.step == own_steps
    children.assert_gone(within_s=2.0)


def test_kill_9_leaves_no_process(children: Family) -> None:
    demo = start_demo(children, "--peers", "2")
    wait_for_word(demo, "To join")
    assert len(children.members()) >= 5, "itself, two trainers, and the first one's node and daemon"
    demo.kill()
    children.assert_gone(within_s=2.0)


def test_the_first_ctrl_c_stops_politely_and_the_second_ends_it_now(children: Family) -> None:
    demo = start_demo(children, "--peers", "2", "--seconds", "600", "--page", "0")
    wait_for_word(demo, "training together")
    kill_from_page(demo, "b")
    demo.signal(signal.SIGINT)
    wait_for_word(demo, "Stopping")
    demo.signal(signal.SIGINT)
    assert demo.wait() == EXIT_INTERRUPTED
    children.assert_gone(within_s=2.0)


def kill_from_page(demo: Peer, label: str) -> None:
    """As its button does, with the key that the demonstration has printed."""
    found = re.search(r"(http://127\.0\.0\.1:\d+/)#key=(\S+)", demo.out)
    assert found is not None
    assert posted(f"{found[1]}kill", label, key="another") == 403
    assert posted(f"{found[1]}kill", "nobody", key=found[2]) == 409
    assert posted(f"{found[1]}kill", label, key=found[2]) == 204
    wait_for_word(demo, f"peer {label} was killed (SIGKILL")
    with urllib.request.urlopen(f"{found[1]}swarm.json") as answer:
        states = {each["label"]: each["state"] for each in json.load(answer)["peers"]}
    assert states == {"a": "training", label: "killed"}


def posted(url: str, label: str, *, key: str) -> int:
    body, headers = json.dumps({"peer": label}).encode(), {KEY_HEADER: key}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method="POST")) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_when_nobody_reads_its_output_it_ends_and_leaves_no_process(children: Family) -> None:
    with subprocess.Popen([GOSSIP, "demo", "--peers", "2"], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert "is started with" in demo.stdout.readline()
        demo.stdout.close()
    assert demo.returncode == 1
    children.assert_gone(within_s=2.0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--peers", "1"],
        ["--peers", "17"],
        ["--seconds", "0"],
        ["--seed", "-1"],
        ["--log-format", "xml"],
        ["--report", "no/x"],
    ],
)
def test_wrong_flags_are_refused_before_anything_is_started(gossip: Command, arguments: list[str]) -> None:
    ended = gossip("demo", *arguments)
    assert ended.code == UsageError.exit_code
    assert "Error" in ended.err
    assert not Path("runs").exists()


def test_training_is_shorter_where_starting_took_long() -> None:
    lengths = [time_to_train(start_took_s) for start_took_s in (5.0, 12.0, 22.0, 30.0, 90.0)]
    assert lengths == sorted(lengths, reverse=True)
    assert (lengths[0], lengths[-1]) == (TRAIN_S, LEAST_TRAIN_S)
