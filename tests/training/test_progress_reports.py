"""What others are told of a trainer between rounds, and how often."""

from __future__ import annotations

import math
import time

import pytest

from gossiptrain.net.framing import Message
from gossiptrain.node import control
from gossiptrain.node.forecast import PROGRESS_S
from gossiptrain.training.progress_reports import ProgressReports
from gossiptrain.training.rounds import LocalProgress


def reports() -> tuple[ProgressReports, LocalProgress, list[Message]]:
    said: list[Message] = []
    progress = LocalProgress()
    return ProgressReports(progress, said.append), progress, said


def test_all_that_is_known_is_said_and_a_loss_once() -> None:
    found, progress, said = reports()
    progress.step = 7
    found.ends_in_s = 12.0
    found.show_loss(0.5)
    found.tell(ready_in_s=3.0)
    found.tell(ready_in_s=None)
    assert said == [
        control.Progress(step=7, ready_in_s=3.0, ends_in_s=12.0, loss=0.5),
        control.Progress(step=7, ready_in_s=None, ends_in_s=12.0, loss=None),
    ]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_not_said(loss: float) -> None:
    found, _, said = reports()
    found.show_loss(loss)
    found.tell(ready_in_s=None)
    assert said == [control.Progress(step=0, ready_in_s=None, ends_in_s=None, loss=None)]


def test_now_and_then_is_once_in_a_while_and_anything_else_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found, progress, said = reports()
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    for step in range(10):
        progress.step = step
        now_s += 0.4 * PROGRESS_S
        found.tell_now_and_then(ready_in_s=None)
    assert [word.step for word in said if isinstance(word, control.Progress)] == [0, 3, 6, 9]
    found.tell(ready_in_s=None)
    assert len(said) == 5
