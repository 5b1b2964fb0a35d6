"""The daemon's process: how it fails, how it ends, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gossiptrain.errors import NodeFailedError
from gossiptrain.net.libp2p.daemon import Daemon, PrivateFolder, remove_stale_folders
from gossiptrain.net.libp2p.daemon_control import TOO_SOON, plain_reason
from tests.transports import is_running, until

READY = 'echo "Peer ID: x";'


async def start(script: str, *, timeout_s: float = 20.0) -> Daemon:
    """A daemon that is a shell script."""
    return await Daemon.start(["/bin/sh", "-c", script], environment={"WORD": "spoken"}, timeout_s=timeout_s)


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Runs a test in an event loop."""

    async def limited() -> None:
        async with asyncio.timeout(30):
            await main()

    asyncio.run(limited())


def test_it_starts_speaks_and_ends() -> None:
    async def main() -> None:
        daemon = await start(f'echo $WORD; {READY} printf "%0100000d" 1; echo; echo last; exec sleep 600')
        await until(lambda: "last" in daemon.last_lines)
        assert daemon.last_lines[0] == "spoken"
        assert max(map(len, daemon.last_lines)) <= 4096
        assert os.getpgid(daemon.process.pid) != os.getpgid(0)  # Ctrl+C in a terminal does not reach it
        assert not daemon.exited.is_set()
        await daemon.close()
        assert daemon.exited.is_set()
        assert not is_running(daemon.process.pid)
        await daemon.close()

    run(main)


def test_its_death_is_noticed() -> None:
    async def main() -> None:
        daemon = await start(f"{READY} exec sleep 600")
        os.kill(daemon.process.pid, signal.SIGKILL)
        await daemon.exited.wait()
        await daemon.close()

    run(main)


@pytest.mark.parametrize("script", [f"{READY} exec sleep 600", f'trap "" TERM; {READY} while :; do sleep 0.1; done'])
def test_it_ends_by_force_where_it_must(script: str) -> None:
    async def main() -> None:
        daemon = await start(script)
        if "trap" not in script:
            os.kill(daemon.process.pid, signal.SIGSTOP)
        await daemon.close(grace_s=0.1)
        assert not is_running(daemon.process.pid)

    run(main)


def test_a_daemon_that_fails_says_why() -> None:
    async def main() -> None:
        with pytest.raises(NodeFailedError, match="no such key; cannot go on"):
            await start("echo no such key; echo cannot go on >&2; exit 3")
        with pytest.raises(NodeFailedError, match="without a word"):
            await start("exit 0")
        with pytest.raises(NodeFailedError, match=r"not ready after 0\.2 s"):
            await start("exec sleep 600", timeout_s=0.2)
        with pytest.raises(NodeFailedError):
            await Daemon.start(["/no/such/program"], environment={}, timeout_s=20)

    run(main)


def test_a_start_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    async def main() -> None:
        pid_file = tmp_path / "pid"
        starting = asyncio.create_task(start(f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 600"))
        await until(pid_file.exists)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not is_running(int(pid_file.read_text()))

    run(main)


def test_private_folders_are_private_and_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder, other = PrivateFolder(), PrivateFolder()
    assert folder.path != other.path
    assert folder.path.stat().st_mode & 0o777 == 0o700
    (folder.path / "secret").write_text("x")
    folder.remove()
    folder.remove()
    assert not folder.path.exists()
    assert other.path.exists()
    other.remove()


def test_only_own_stale_folders_are_removed(tmp_path: Path) -> None:
    for name in ("gossiptrain-net-stale", "another-program"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "socket").write_text("x")
    outside = tmp_path / "another-program"
    (tmp_path / "gossiptrain-net-link").symlink_to(outside)
    remove_stale_folders(str(tmp_path))
    assert {entry.name for entry in tmp_path.iterdir()} == {"another-program", "gossiptrain-net-link"}
    assert (outside / "socket").exists()


def test_a_long_temporary_folder_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp/" + "x" * 100)
    folder = PrivateFolder()
    assert len(str(folder.path)) < 60
    folder.remove()


def test_reasons_are_put_in_plain_words() -> None:
    dial = "Connect failed. msg=failed to dial: all dials failed\n  * [/ip4/127.0.0.1/tcp/1] "
    assert plain_reason(dial + "dial tcp4 127.0.0.1:1: connect: connection refused").startswith("connection refused")
    assert plain_reason(dial + "peer id mismatch: expected AA, but remote key matches BB, so") == (
        "another peer lives there: BB"
    )
    assert plain_reason(dial + "dial backoff") == TOO_SOON
    assert plain_reason("\x1b[31mforged\nline" + "x" * 1000) == " [31mforged line" + "x" * 284
