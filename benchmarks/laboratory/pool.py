"""Runs of the laboratory beside each other, each in a process of its own and on one core.

Owns the processes. Does not know what is run, nor what for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeAlias

import torch

from gossiptrain.simulate.learn import run
from gossiptrain.simulate.learn_settings import LearnSettings
from gossiptrain.simulate.results import LearnResult

Runner: TypeAlias = Callable[[LearnSettings], LearnResult]


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def laboratories(processes: int) -> Iterator[Runner]:
    """A function that runs in the next free process, and may be called from several threads at once."""
    pool = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        yield lambda settings: pool.submit(run, settings).result()
    finally:
        pool.shutdown(cancel_futures=True)
