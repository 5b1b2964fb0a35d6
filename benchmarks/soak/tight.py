"""Guests that run out of something: of disk, of memory.

Owns how that is brought about, and what the guest may do then: go on, or end with words that say why. Needs Linux, and
for the disk root.
"""

from __future__ import annotations

import contextlib
import resource
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.soak.peer import POLL_S, BrokenPromiseError, PeerEndedError, SoakPeer
from benchmarks.soak.swarm import SoakSwarm
from gossiptrain import events

DISK_BYTES = 4 << 20
"""Room for some checkpoints of the digits task."""
TIGHT_S = 5.0
OFTEN = ("--checkpoint-every", "1")


def full_disk(swarm: SoakSwarm) -> Iterator[float]:
    """The disk of a guest's run folder is full; training goes on, older checkpoints stay, and new ones follow."""
    # In the family's own folder; mounted over, so that it is gone with the mount.
    place = swarm.peers[0].folder.with_name(f"disk-{secrets.token_hex(3)}")
    with small_disk(place):
        guest = swarm.guest(*OFTEN, folder=place / "run")
        yield from guest.until_round()
        yield from _until(guest, lambda: bool(guest.process.find(events.CheckpointSaved)), "a first checkpoint")
        rest = fill(place)
        since = guest.process.told()
        yield from _until(guest, lambda: bool(guest.process.find(events.CheckpointFailed, since=since)), "a word of it")
        yield from guest.until_round()
        if guest.checkpoint_step() is None:
            raise BrokenPromiseError(f"{guest.name} has lost its checkpoints while its disk was full")
        rest.unlink()
        since = guest.process.told()
        yield from _until(guest, lambda: bool(guest.process.find(events.CheckpointSaved, since=since)), "another one")
        yield from guest.until_left()


def no_memory(guest: SoakPeer, word: str) -> Iterator[float]:
    """A guest's node, or without a `word` its trainer, gets no more memory for a while."""
    yield from guest.until_round()
    member = guest.process.find_process(word) if word else None
    pid = member.pid if member else guest.process.pid
    guest.is_asked_to_end = True
    with memory_limit(pid):
        tight_until_s = time.monotonic() + TIGHT_S
        while time.monotonic() < tight_until_s and guest.is_running:
            yield POLL_S
    # What ends a process may take longer than the want of memory itself: Rust looks up names for its last words.
    with contextlib.suppress(PeerEndedError):
        yield from guest.until_round()
        yield from guest.until_left()
        return
    guest.checkpoint_step()
    said = guest.process.err
    if "memory" not in said.lower():
        raise BrokenPromiseError(f"{guest.name} got no more memory and ended without a word of it: {said[-500:]}")


@contextlib.contextmanager
def small_disk(place: Path, *, size_bytes: int = DISK_BYTES) -> Iterator[None]:
    """A file system in memory that is mounted at `place` for as long as the block lasts. Raises OSError."""
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place)], check=False, capture_output=True
    )
    if done.returncode:
        place.rmdir()
        raise OSError(f"no small disk can be mounted: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        # Lazily: whoever still has a file open there keeps it until it ends.
        subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)
        with contextlib.suppress(OSError):
            place.rmdir()


def fill(place: Path) -> Path:
    """Fills a disk to its last byte, and returns the file that does."""
    rest = place / "rest"
    with rest.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 12)):
            pass
    return rest


@contextlib.contextmanager
def memory_limit(pid: int) -> Iterator[None]:
    """A process gets no address space beyond what it has; afterwards as before."""
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (address_space_bytes(pid), before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_AS, before)


def address_space_bytes(pid: int) -> int:
    """How much a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def _until(guest: SoakPeer, condition: Callable[[], bool], what: str) -> Iterator[float]:
    deadline_s = time.monotonic() + 60.0
    while not condition():
        if not guest.is_running:
            raise BrokenPromiseError(f"{guest.name} ended with {guest.process.process.returncode} before {what}")
        if time.monotonic() > deadline_s:
            raise BrokenPromiseError(f"{guest.name}: {what} did not come within 60 s")
        yield POLL_S
