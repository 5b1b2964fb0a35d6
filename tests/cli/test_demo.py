"""`gossip demo` as a person or a script runs it: real processes from the first peer to the verdict."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gossiptrain.cli.demo import LEAST_TRAIN_S, TRAIN_S, time_to_train
from gossiptrain.cli.main import main
from gossiptrain.errors import SwarmFailedError, UsageError
from gossiptrain.training.checkpoints import load_checkpoint
from tests.cli.processes import descendants, left_after

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


class Demo:
    """A demonstration in a process of its own, with a pipe for its output."""

    def __init__(self, *arguments: str) -> None:
        program = "from gossiptrain.cli.main import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.output = self.process.stdout

    def line_with(self, text: str) -> str:
        """The next line that holds `text`."""
        for line in self.output:
            if text in line:
                return line
        raise AssertionError(f"the demonstration ended without a word of {text!r}")

    def family(self) -> set[int]:
        """All processes of it."""
        return descendants(self.process.pid) | {self.process.pid}


@contextmanager
def demonstration(*arguments: str) -> Iterator[Demo]:
    demo = Demo(*arguments)
    try:
        yield demo
    finally:
        demo.process.kill()
        demo.process.communicate()


def test_a_short_demonstration_from_the_first_peer_to_the_verdict() -> None:
    with demonstration("--peers", "3", "--seconds", "2", "--report", "report.json", "--log-format", "plain") as demo:
        command = demo.line_with("is started with")
        family = demo.family()
        rest = demo.output.read()
        code = demo.process.wait()
    report = json.loads(Path("report.json").read_text())
    assert set(report) == REPORT_KEYS
    assert report["peers"] == 3
    assert [len(report[name]) for name in ("accuracy_alone", "accuracy_together", "bytes_sent")] == [3, 3, 3]
    assert report["rounds_committed"] >= 1
    assert min(report["bytes_sent"]) > 0
    assert report["seconds"] >= 2.0
    assert report["disagreement"] >= 0.0
    # Three trained models, however little the computer let them train: guessing would give one in ten.
    assert min(report["accuracy_alone"] + report["accuracy_together"] + [report["accuracy_merged"]]) > 0.3
    assert code in (0, SwarmFailedError.exit_code)
    assert (code == 0) is ("The swarm did what it should" in rest)

    run = Path(re.search(r"--out (\S+)/peer-a", command)[1])  # type: ignore[index]
    assert f"gossip train digits --run {run.name} --initial-peer /ip4/127.0.0.1/tcp/" in rest
    for label, share in (("a", "1/3"), ("b", "2/3"), ("c", "3/3")):
        assert re.search(rf"^ +{label} +{share} ", rest, re.MULTILINE)
        own_steps = load_checkpoint(run / f"peer-{label}").state.extra["own_steps"]
        assert load_checkpoint(run / f"alone-{label}").state.step == own_steps
    assert left_after(family, patience_s=2.0) == set()


def test_kill_9_leaves_no_process() -> None:
    with demonstration("--peers", "2") as demo:
        demo.line_with("To join")
        family = demo.family()
        assert len(family) >= 5, "itself, two trainers, and the first one's node and daemon"
        demo.process.kill()
        demo.process.wait()
        assert left_after(family, patience_s=2.0) == set()


def test_the_first_ctrl_c_stops_politely_and_the_second_ends_it_now() -> None:
    with demonstration("--peers", "2", "--seconds", "60") as demo:
        demo.line_with("training together")
        family = demo.family()
        demo.process.send_signal(signal.SIGINT)
        demo.line_with("Stopping")
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait() == 130
        assert left_after(family, patience_s=2.0) == set()


def test_when_nobody_reads_its_output_it_ends_and_leaves_no_process() -> None:
    with demonstration("--peers", "2") as demo:
        demo.line_with("is started with")
        family = demo.family()
        demo.output.close()
        assert demo.process.wait(timeout=60) not in (0, SwarmFailedError.exit_code)
        assert left_after(family, patience_s=2.0) == set()


@pytest.mark.parametrize(
    "arguments",
    [["--peers", "1"], ["--peers", "17"], ["--seconds", "0"], ["--seed", "-1"], ["--log-format", "xml"], ["--report", "no/x"]],
)
def test_wrong_flags_are_refused_before_anything_is_started(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", *arguments])
    assert ended.value.code == UsageError.exit_code
    assert "Error" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_training_is_shorter_where_starting_took_long() -> None:
    lengths = [time_to_train(start_took_s) for start_took_s in (5.0, 12.0, 22.0, 30.0, 90.0)]
    assert lengths == sorted(lengths, reverse=True)
    assert (lengths[0], lengths[-1]) == (TRAIN_S, LEAST_TRAIN_S)
