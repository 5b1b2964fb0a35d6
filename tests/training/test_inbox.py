"""Messages wait until the training thread wants to hear them, in their order."""

from __future__ import annotations

import threading

import pytest

from gossiptrain.net.framing import Message
from gossiptrain.node import control
from gossiptrain.training.inbox import Inbox


@pytest.fixture
def heard() -> list[Message]:
    return []


@pytest.fixture
def inbox(heard: list[Message]) -> Inbox:
    return Inbox(heard.append)


def changed(peers: int) -> control.PeerChanged:
    return control.PeerChanged(peer="a", change="joined", addresses=(), peers=peers, trainers=peers)


def test_nothing_is_heard_before_it_is_asked_for(inbox: Inbox, heard: list[Message]) -> None:
    inbox.put(changed(2))
    inbox.put(changed(3))
    assert heard == []
    inbox.hear_all()
    assert heard == [changed(2), changed(3)]


def test_one_is_waited_for_and_comes_from_another_thread(inbox: Inbox, heard: list[Message]) -> None:
    speaker = threading.Thread(target=inbox.put, args=(changed(2),))
    speaker.start()
    inbox.hear_one(timeout_s=10.0)
    speaker.join()
    assert heard == [changed(2)]


def test_where_nobody_speaks_nothing_is_heard(inbox: Inbox, heard: list[Message]) -> None:
    inbox.hear_one(timeout_s=0.0)
    inbox.hear_all()
    assert heard == []


def test_what_is_put_off_comes_before_what_was_said_later(inbox: Inbox, heard: list[Message]) -> None:
    for message in (changed(2), control.StateWanted(), changed(3)):
        inbox.put(message)
    inbox.hear_only(control.StateWanted)
    assert heard == [control.StateWanted()]
    inbox.put(changed(4))
    inbox.hear_one(timeout_s=0.0)
    inbox.hear_all()
    assert heard[1:] == [changed(2), changed(3), changed(4)]
