"""The folder of a run: made once, held by one peer, written whole, and never a reason to stop training."""

from __future__ import annotations

import json
import math
import re
import resource
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gossiptrain.errors import GossipError, UsageError
from gossiptrain.events import Event, Notice, event_from_json
from gossiptrain.training.bus import EventBus
from gossiptrain.training.runs.folder import RunFolder
from gossiptrain.training.runs.metrics_file import MetricsFile


@contextmanager
def full_disk(limit_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond `limit_bytes`: what a full disk is to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_a_run_gets_a_folder_of_its_own_named_after_it(tmp_path: Path) -> None:
    with RunFolder.create(None, "digits", runs=tmp_path) as one, RunFolder.create(None, "digits", runs=tmp_path) as two:
        assert re.fullmatch(r"digits-\d{8}-\d{6}-[0-9a-f]{4}", one.id)
        assert one.path != two.path
        assert one.path.parent == tmp_path
        assert one.checkpoints == one.path / "checkpoints"
        assert one.checkpoints.is_dir()
        assert one.identity == one.path / "identity.key"


def test_peers_that_start_in_the_same_second_never_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = iter(["aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr("gossiptrain.training.runs.folder.secrets.token_hex", lambda size: next(digits))
    with RunFolder.create(None, "digits", runs=tmp_path) as one, RunFolder.create(None, "digits", runs=tmp_path) as two:
        assert one.id.endswith("aaaa")
        assert two.id.endswith("bbbb") or one.id[:-4] != two.id[:-4]


def test_the_name_of_a_run_cannot_lead_out_of_the_folder_of_runs(tmp_path: Path) -> None:
    with RunFolder.create(None, "../../my run/é", runs=tmp_path / "runs") as folder:
        assert folder.id.startswith("my-run-")
        assert folder.path.parent == tmp_path / "runs"


def test_a_named_folder_is_used_and_may_hold_a_key(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    out.mkdir(parents=True)
    (out / "identity.key").write_bytes(b"key")
    with RunFolder.create(out, "digits") as folder:
        assert folder.path == out


def test_a_folder_that_holds_another_run_is_refused_unless_resumed(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "digits") as folder:
        folder.write_config({"task": "digits"})
    with pytest.raises(UsageError, match=r"already holds a run: config\.toml"):
        RunFolder.create(tmp_path, "digits")
    with RunFolder.create(tmp_path, "digits", resume=True) as folder:
        assert folder.path == tmp_path


def test_a_folder_with_checkpoints_holds_a_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    with pytest.raises(UsageError, match="already holds a run: checkpoints"):
        RunFolder.create(tmp_path, "digits")


def test_two_live_peers_never_share_a_folder(tmp_path: Path) -> None:
    with (
        RunFolder.create(tmp_path, "digits"),
        pytest.raises(UsageError, match="in use by another running peer"),
    ):
        RunFolder.create(tmp_path, "digits", resume=True)
    RunFolder.create(tmp_path, "digits", resume=True).close()


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_a_mistake_of_the_user(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made") as caught:
        RunFolder.create(tmp_path / out, "digits")
    assert "--out" in caught.value.remedy
    with pytest.raises(UsageError, match="cannot be made"):
        RunFolder.create(None, "digits", runs=tmp_path / out)


def test_settings_are_kept_nested_and_without_those_that_are_none(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "digits") as folder:
        settings = {"task": "digits", "lr": 0.1, "limit": None, "data": Path("/data"), "bad": "a\udc80"}
        folder.write_config({**settings, "gossip": {"group": 16, "every": None, "addresses": ("a", "b")}})
        assert tomllib.loads(folder.config.read_text(encoding="utf-8")) == {
            "task": "digits",
            "lr": 0.1,
            "data": "/data",
            "bad": "a?",
            "gossip": {"group": 16, "addresses": ["a", "b"]},
        }


def test_the_summary_is_json_whatever_was_measured(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "digits") as folder:
        folder.write_summary({"loss": math.nan, "accuracy": [0.5, math.inf], "path": tmp_path})
        content = json.loads(folder.summary.read_text(encoding="utf-8"))
        assert content == {"loss": None, "accuracy": [0.5, None], "path": str(tmp_path)}


def test_a_summary_and_settings_that_cannot_be_written_are_said_in_plain_words(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "digits") as folder, full_disk(100):
        with pytest.raises(GossipError, match=r"summary cannot be written.*File too large"):
            folder.write_summary({"text": "x" * 200})
        with pytest.raises(UsageError, match=r"settings cannot be written.*File too large"):
            folder.write_config({"text": "x" * 200})
    assert not folder.summary.exists()


def test_each_event_is_one_line_on_disk_as_soon_as_it_is_emitted(tmp_path: Path) -> None:
    bus = EventBus()
    with RunFolder.create(tmp_path, "digits") as folder:
        unsubscribe = folder.follow(bus)
        for message in ("one", "two"):
            bus.emit(Notice(time=1.0, message=message))
            assert event_from_json(lines_of(folder.metrics)[-1]) == Notice(time=1.0, message=message)
        unsubscribe()
        bus.emit(Notice(time=1.0, message="three"))
        assert len(lines_of(folder.metrics)) == 2


def test_a_resumed_run_appends_and_never_joins_a_line_to_half_of_another(tmp_path: Path) -> None:
    bus = EventBus()
    with RunFolder.create(tmp_path, "digits") as folder:
        folder.follow(bus)
        bus.emit(Notice(time=1.0, message="before"))
    with folder.metrics.open("ab") as file:
        file.write(b'{"event": "noti')
    bus.emit(Notice(time=1.0, message="after the end"))
    bus = EventBus()
    with RunFolder.create(tmp_path, "digits", resume=True) as folder:
        folder.follow(bus)
        bus.emit(Notice(time=2.0, message="after"))
    lines = lines_of(folder.metrics)
    assert len(lines) == 3
    assert event_from_json(lines[0]) == Notice(time=1.0, message="before")
    assert event_from_json(lines[2]) == Notice(time=2.0, message="after")


def test_a_full_disk_drops_metrics_says_so_once_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    bus, seen = EventBus(), list[Event]()
    with RunFolder.create(tmp_path, "digits") as folder:
        folder.follow(bus)
        bus.subscribe(seen.append)
        bus.emit(Notice(time=1.0, message="before"))
        with full_disk(folder.metrics.stat().st_size + 10):
            for _ in range(5):
                bus.emit(Notice(time=1.0, message="lost"))
        assert [event.message for event in seen if isinstance(event, Notice) and event.level == "warning"] == [
            "metrics cannot be written: the disk is full; training goes on without them"
        ]
        bus.emit(Notice(time=2.0, message="after"))
    before, torn, after, report = lines_of(folder.metrics)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        event_from_json(torn)
    messages = [event.message for event in map(event_from_json, (before, after, report)) if isinstance(event, Notice)]
    assert messages == ["before", "after", "metrics are written again; 6 events are missing from them"]


def test_a_disk_without_any_room_drops_metrics_too(tmp_path: Path) -> None:
    reports: list[str] = []
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    metrics = MetricsFile(tmp_path / "metrics.jsonl", report=reports.append)
    metrics.write(Notice(message="lost"))
    metrics.write(Notice(message="lost"))
    metrics.close()
    assert reports == ["metrics cannot be written: No space left on device; training goes on without them"]


def test_metrics_that_cannot_be_opened_are_a_mistake_of_the_user(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "digits") as folder:
        folder.metrics.mkdir()
        with pytest.raises(UsageError, match="cannot be opened"):
            folder.follow(EventBus())


def test_leftovers_of_a_crash_are_swept_when_the_run_is_resumed(tmp_path: Path) -> None:
    (tmp_path / ".summary.json.1234abcd.tmp").write_text("half")
    with RunFolder.create(tmp_path, "digits", resume=True):
        assert not list(tmp_path.glob("*.tmp"))
        assert not list(tmp_path.glob(".*.tmp"))


def test_the_lock_ends_with_the_process_even_when_it_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from gossiptrain.training.runs.folder import RunFolder\n"
        f"folder = RunFolder.create(Path({str(tmp_path)!r}), 'digits')\n"
        "sys.stdout.write('held\\n'); sys.stdout.flush(); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="in use"):
            RunFolder.create(tmp_path, "digits", resume=True)
        child.kill()
        child.wait()
    RunFolder.create(tmp_path, "digits", resume=True).close()


def test_a_folder_that_is_removed_is_said_once_and_filled_again_when_it_is_there_again(tmp_path: Path) -> None:
    bus, seen = EventBus(), list[Event]()
    bus.subscribe(seen.append)
    with RunFolder.create(tmp_path / "run", "digits") as folder:
        folder.identity.write_bytes(b"key")
        folder.write_config({"train": {"task": "digits"}})
        config = folder.config.read_bytes()
        folder.follow(bus)
        folder.check_not_removed()
        shutil.rmtree(folder.path)
        bus.emit(Notice(message="lost"))
        bus.emit(Notice(message="lost as well"))
        folder.path.mkdir()
        bus.emit(Notice(message="kept"))
        assert folder.config.read_bytes() == config
        assert folder.identity.read_bytes() == b"key"
        assert folder.identity.stat().st_mode & 0o777 == 0o600
        with pytest.raises(GossipError, match="was removed while the peer trained"):
            folder.check_not_removed()
    assert ["kept" in line for line in lines_of(folder.metrics)] == [True]
    assert len([event for event in seen if isinstance(event, Notice) and "was removed" in event.message]) == 1
