"""TensorBoard and Prometheus are given a run, and tell it back by their own means."""

from __future__ import annotations

import contextlib
import socket
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossiptrain.errors import PortInUseError, UsageError
from gossiptrain.events import Event
from gossiptrain.monitor.trackers import dashboards, prometheus, tensorboard
from gossiptrain.monitor.trackers.tracker import Tracker, needed
from tests.monitor.stream import OTHER, OWN, evaluated, finished, peer, round_of, started, step

RUN: tuple[Event, ...] = (
    started(),
    step(10, loss=2.0),
    peer(OTHER, "joined", 2),
    round_of(1, OWN, OTHER),
    step(50, loss=0.5),
    round_of(2, OWN, OTHER),
    evaluated(0.9),
    finished(),
)


def feed(tracker: Tracker) -> None:
    for event in RUN:
        tracker.handle(event)


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with contextlib.closing(tensorboard.TensorBoardTracker(tmp_path / "run")) as tracker:
        feed(tracker)
    read = EventAccumulator(str(tmp_path / "run")).Reload()
    losses = [(each.step, each.value, each.wall_time) for each in read.Scalars("train/loss")]
    assert losses == [(10, 2.0, 1001.0), (50, 0.5, 1005.0)]
    assert [each.value for each in read.Scalars("swarm/rounds")][:2] == [1, 2]
    assert read.Scalars("test/accuracy")[0].value == pytest.approx(0.9)


@pytest.fixture
def served() -> Iterator[prometheus.PrometheusTracker]:
    with contextlib.closing(prometheus.PrometheusTracker("0")) as tracker:
        yield tracker


def asked(tracker: prometheus.PrometheusTracker) -> dict[str, float]:
    """By name, with labels, what Prometheus would read."""
    with urllib.request.urlopen(f"http://127.0.0.1:{tracker.port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def test_prometheus_is_told_the_present_figures_and_totals(served: prometheus.PrometheusTracker) -> None:
    assert asked(served) == {}
    feed(served)
    told = asked(served)
    assert told["gossip_train_loss"] == 0.5
    assert told["gossip_train_step"] == finished().step
    assert told["gossip_swarm_rounds_total"] == finished().rounds
    assert told["gossip_swarm_bytes_sent_total"] == finished().bytes_sent
    assert told["gossip_swarm_peers"] == 2.0
    assert told[f'gossip_peer_info{{peer="{OWN}",run="digits",task="digits"}}'] == 1.0


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"127.0.0.1:{port}"):
            prometheus.PrometheusTracker(str(port))


@pytest.mark.parametrize(
    ("place", "expected"),
    [("9464", ("127.0.0.1", 9464)), ("0.0.0.0:9464", ("0.0.0.0", 9464)), ("[::1]:9464", ("::1", 9464))],
)
def test_without_a_host_figures_are_for_this_computer_alone(place: str, expected: tuple[str, int]) -> None:
    assert prometheus.parse_place(place) == expected


@pytest.mark.parametrize("place", ["", "x", "70000", "host", "host:", "-1", "٣"])
def test_what_is_no_place_is_refused(place: str) -> None:
    with pytest.raises(UsageError, match="takes a port"):
        prometheus.parse_place(place)


@pytest.mark.parametrize("package", ["wandb", "trackio", "tensorboard", "prometheus_client"])
def test_a_package_that_is_not_installed_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match="needs the package") as caught:
        {
            "wandb": lambda: dashboards.check("wandb"),
            "trackio": lambda: dashboards.check("trackio"),
            "tensorboard": tensorboard.check,
            "prometheus_client": prometheus.check,
        }[package]()
    assert f"pip install 'gossiptrain[{package.partition('_')[0]}]'" in caught.value.remedy


def test_a_package_that_is_broken_is_told_apart_from_one_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_tracker.py").write_text("import nothing_of_that_name\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="cannot be used") as caught:
        needed("broken_tracker", flag="--broken", extra="broken")
    assert "nothing_of_that_name" in caught.value.cause


@pytest.mark.parametrize("dashboard", ["wandb", "trackio"])
def test_a_dashboard_is_given_the_run(
    dashboard: dashboards.Dashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # before it is imported
    pytest.importorskip(dashboard)
    tracker = dashboards.DashboardTracker(dashboard, project="digits", run="one", config={"train": {"batch": 3}})
    with contextlib.closing(tracker):
        feed(tracker)
    tracker.close()
    kept = [path for path in tmp_path.rglob("*") if path.suffix in (".wandb", ".db")]
    assert kept, "nothing was kept"
