"""The memory that trainer and node share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gossiptrain.node import memory
from gossiptrain.node.memory import SharedVectors

CHILD = """
import sys
from gossiptrain.node.memory import SharedVectors
shared = SharedVectors(int(sys.argv[1]), 1000, state=2000)
shared.average[:] = shared.snapshot * 2
shared.close()
"""


@pytest.fixture(params=["memfd", "file"])
def shared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SharedVectors:
    """Both kinds of memory: Linux's own, and the unlinked file of other systems."""
    if request.param == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    return SharedVectors.create(1000, state=2000)


def test_vectors_of_zeros_and_a_longer_one_for_newcomers(shared: SharedVectors) -> None:
    for vector, length in ((shared.snapshot, 1000), (shared.average, 1000), (shared.state, 2000)):
        assert vector.dtype == np.float32
        assert not vector.any()
        assert len(vector) == length
    shared.close()


def test_another_process_sees_what_is_written_and_writes_what_is_seen(shared: SharedVectors) -> None:
    shared.snapshot[:] = np.arange(1000)
    subprocess.run(
        [sys.executable, "-c", CHILD, str(shared.descriptor)],
        pass_fds=(shared.descriptor,),
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(memory.__file__).parents[2])},
    )
    assert np.array_equal(shared.average, 2 * np.arange(1000))
    shared.close()


def test_it_has_no_name_that_could_be_left_behind(shared: SharedVectors) -> None:
    target = os.readlink(f"/proc/self/fd/{shared.descriptor}")
    assert target.endswith("(deleted)")
    own = os.fstat(shared.descriptor)
    assert not any(os.path.samestat(path.stat(), own) for path in Path("/dev/shm").iterdir())
    shared.close()


def test_the_state_takes_memory_only_while_it_is_needed() -> None:
    elements = 10_000_000
    large = SharedVectors.create(elements, state=elements)

    def taken() -> float:
        """In vectors of this length."""
        return os.fstat(large.descriptor).st_blocks * 512 / (4 * elements)

    assert taken() == pytest.approx(2.0, rel=1e-3)
    large.snapshot.fill(1.0)
    large.average.fill(2.0)
    large.state.fill(3.0)
    assert taken() == pytest.approx(3.0, rel=1e-3)
    large.forget_state()
    assert taken() == pytest.approx(2.0, rel=1e-3)
    assert (large.snapshot.min(), large.snapshot.max()) == (1.0, 1.0)
    assert (large.average.min(), large.average.max()) == (2.0, 2.0)
    assert large.state.max() in (0.0, 3.0)
    large.close()


@pytest.mark.parametrize("elements", [1, 1000, 1024, 1025])
def test_forgetting_the_state_touches_nothing_else(elements: int) -> None:
    small = SharedVectors.create(elements, state=elements)
    small.snapshot.fill(1.0)
    small.average.fill(2.0)
    small.forget_state()
    assert (small.snapshot.min(), small.average.min()) == (1.0, 2.0)
    small.close()


def test_closing_while_somebody_holds_a_view_is_no_error(shared: SharedVectors) -> None:
    view = shared.snapshot[10:20]
    shared.close()
    assert view.sum() == 0
