"""The folder of one run, `runs/<id>/`: what a person finds afterwards and what a resumed run starts from.

    config.toml     the settings, fully resolved
    metrics.jsonl   one JSON object per event
    summary.json    the outcome
    checkpoints/    see `checkpoints`
    identity.key    the peer's private key, and beside it the number of its last start
    peers.json      where other peers live, and the own port
    membership.key  of a peer that was invited: the invitation

Owns names, the lock and what is told where the disk does not take something; does not know what settings, events or
checkpoints mean. A disk that fills up never stops training.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomli_w

from gossiptrain.errors import GossipError, UsageError
from gossiptrain.events import Event, Notice, SwarmSeen
from gossiptrain.training.bus import EventBus
from gossiptrain.training.runs.metrics_file import MetricsFile
from gossiptrain.training.runs.plain_values import for_json, for_toml
from gossiptrain.training.runs.whole_files import TEMPORARY_SUFFIX, write_whole

RUNS = Path("runs")
"""Where runs are kept unless a folder is named."""


class RunFolder:
    """The folder of one run, held under a lock until `close`, so that two live peers never write into one folder."""

    def __init__(self, path: Path, *, lock: int) -> None:
        """Use `create`. lock: an open file descriptor that holds the lock."""
        self.path = path
        self._lock: int | None = lock
        self._metrics: MetricsFile | None = None
        self._kept: dict[Path, bytes] = {}
        """What is written again where the folder was removed and is there again."""

    @classmethod
    def create(cls, out: Path | None, run: str, *, resume: bool = False, runs: Path = RUNS) -> RunFolder:
        """Makes `out`, or where that is None a new folder `runs/<run>-<date>-<time>-<four digits>`.

        resume: whether `out` may already hold a run, to be continued. Raises UsageError where it holds one and
        `resume` is not set, where another live peer uses it, or where it cannot be made.
        """
        if out is not None and not resume and (found := _what_is_kept_in(out)):
            raise UsageError(
                f"The folder {out} already holds a run: {found} is there.",
                remedy="Choose another folder with --out, or continue that run with --resume.",
            )
        try:
            path = _made(out) if out is not None else _made_new(runs, run)
            folder = cls(path, lock=_locked(path))
            folder.checkpoints.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"The run folder {out or runs} cannot be made: {error.strerror or error}.",
                remedy="Choose a folder that you may write to with --out.",
            ) from error
        for leftover in path.glob(f".*{TEMPORARY_SUFFIX}"):  # Of a crash, now that the lock says that nobody writes.
            leftover.unlink(missing_ok=True)
        return folder

    @property
    def id(self) -> str:
        """The name of the folder."""
        return self.path.resolve().name

    @property
    def config(self) -> Path:
        """`config.toml`."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """`metrics.jsonl`."""
        return self.path / "metrics.jsonl"

    @property
    def log(self) -> Path:
        """`log.txt`: what is logged while the live view has the terminal."""
        return self.path / "log.txt"

    @property
    def summary(self) -> Path:
        """`summary.json`."""
        return self.path / "summary.json"

    @property
    def checkpoints(self) -> Path:
        """The folder `checkpoints`."""
        return self.path / "checkpoints"

    @property
    def identity(self) -> Path:
        """`identity.key`: where the private key of the peer is kept; only a key that was removed is written here."""
        return self.path / "identity.key"

    @property
    def peers(self) -> Path:
        """`peers.json`: where the node's side keeps addresses of other peers; nothing here reads or writes it."""
        return self.path / "peers.json"

    @property
    def membership(self) -> Path:
        """`membership.key`: where the node's side keeps what a link has given; nothing here reads or writes it."""
        return self.path / "membership.key"

    def keep_identity(self, key: bytes) -> None:
        """Has the peer go on under an identity that it has already shown to others. Raises UsageError.

        key: as in identity files. One that is kept here already stays.
        """
        try:
            if not self.identity.exists():
                write_whole(self.identity, key, mode=0o600)
        except OSError as error:
            raise UsageError(
                f"The key of the peer cannot be written to {self.identity}: {error.strerror or error}.",
                remedy="Free some space, or choose another folder with --out.",
            ) from error

    def write_config(self, settings: Mapping[str, Any]) -> None:
        """Writes `config.toml` from nested settings; those that are None are left out. Raises UsageError."""
        try:
            self._kept[self.config] = tomli_w.dumps(for_toml(settings)).encode("utf-8", "replace")
            write_whole(self.config, self._kept[self.config])
        except OSError as error:
            raise UsageError(
                f"The settings cannot be written to {self.config}: {error.strerror or error}.",
                remedy="Free some space, or choose another folder with --out.",
            ) from error

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes `summary.json`; numbers that are not finite become null. Raises GossipError."""
        try:
            text = json.dumps(for_json(summary), indent=2, allow_nan=False)
            write_whole(self.summary, text.encode("utf-8", "replace") + b"\n")
        except OSError as error:
            raise GossipError(
                f"The summary cannot be written to {self.summary}: {error.strerror or error}.",
                remedy="The checkpoints and the metrics of the run are not touched by this.",
            ) from error

    def follow(self, bus: EventBus) -> Callable[[], None]:
        """From now on appends each event of `bus` to `metrics.jsonl`; returns what ends that. Raises UsageError."""
        try:
            if self.identity.is_file():
                self._kept[self.identity] = self.identity.read_bytes()
            metrics = MetricsFile(
                self.metrics,
                report=lambda text: bus.emit(Notice(level="warning", message=text)),
                on_return=self._write_again,
            )
        except OSError as error:
            raise UsageError(
                f"The metrics file {self.metrics} cannot be opened: {error.strerror or error}.",
                remedy="Choose a folder that you may write to with --out.",
            ) from error
        self._metrics = metrics

        def write(event: Event) -> None:
            if not isinstance(event, SwarmSeen):  # A line a second of what others tell for the moment alone.
                metrics.write(event)

        return bus.subscribe(write, name=self.metrics.name)

    def check_not_removed(self) -> None:
        """Raises GossipError where the folder, or the metrics in it, were removed while events were written."""
        if self._metrics is not None and self._metrics.was_removed:
            raise GossipError(
                f"The run folder {self.path} was removed while the peer trained: metrics of this run are lost.",
                cause="Somebody, or a program that tidies up, removed the folder or metrics.jsonl in it.",
                remedy="The training itself is not touched by this; what was saved since is in the folder.",
            )

    def _write_again(self) -> None:
        """Without its settings and its key, what is saved from now on could not be resumed as the same peer."""
        for path, content in self._kept.items():
            if not path.exists():
                with contextlib.suppress(OSError):
                    write_whole(path, content, mode=0o600 if path == self.identity else 0o666)

    def close(self) -> None:
        """Closes the metrics and lets go of the lock. May be called twice."""
        if self._metrics is not None:
            self._metrics.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_in_use(path: Path) -> bool:
    """Whether a living peer writes into this run folder; False where that cannot be told."""
    try:
        descriptor = os.open(path / ".lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two who look at the same time do not take each other for the peer.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _made_new(runs: Path, run: str) -> Path:
    name = re.sub(r"[^A-Za-z0-9]+", "-", run).strip("-")[:40] or "run"
    while True:
        path = runs / f"{name}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if not runs.is_dir():
                raise
            continue  # Several peers start in the same second: another one drew the same digits.
        return path


def _what_is_kept_in(path: Path) -> str:
    # A key alone is no run: it may have been put there to keep an identity.
    for name in ("config.toml", "metrics.jsonl", "summary.json"):
        if (path / name).exists():
            return name
    with contextlib.suppress(OSError):
        if any((path / "checkpoints").iterdir()):
            return "checkpoints"
    return ""


def _locked(path: Path) -> int:
    descriptor = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UsageError(
            f"The run folder {path} is in use by another running peer.",
            remedy="Wait until that peer has ended, or choose another folder with --out.",
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):  # File systems without locks.
            os.close(descriptor)
            raise
    return descriptor
