"""The trace of the protocol: what is sent and received, message by message, and bounded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gossiptrain.errors import UsageError
from gossiptrain.net import trace
from gossiptrain.net.framing import Message, ProtocolViolationError, call, receive_message, send_message
from gossiptrain.net.trace import Trace, start, stop, traced
from gossiptrain.net.transport import Stream
from tests.transports import Kind, MakeTransport, on_all_streams, run_on

ASK = "/test/ask"


class Question(Message):
    """A message of the test's own."""

    text: str


class Answer(Message):
    """Another one."""

    text: str


@pytest.fixture(autouse=True)
def _no_trace_is_left() -> Iterator[None]:
    yield
    stop()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def ask_and_answer(make: MakeTransport) -> None:
    alice, bob = await make("alice"), await make("bob")

    async def answer(stream: Stream) -> None:
        question = await receive_message(stream, Question)
        await send_message(stream, Answer(text=question.text[::-1]))

    await bob.serve(ASK, answer)
    await alice.connect(bob.addresses[0])
    reply = await call(alice, bob.peer_id, protocol=ASK, request=Question(text="a\n\x1b"), reply_kind=Answer)
    assert reply.text == "\x1b\na"


@on_all_streams
def test_each_message_is_a_line_at_both_ends(kind: Kind, tmp_path: Path) -> None:
    start(tmp_path / "trace.jsonl")
    run_on(kind, ask_and_answer)
    lines = [line for line in lines_of(tmp_path / "trace.jsonl") if line["protocol"] == ASK]
    told = {(line["kind"], line["direction"]): line for line in lines}
    sent, received, answered, heard = (
        told[kind, direction] for kind in ("Question", "Answer") for direction in ("sent", "received")
    )
    assert len(lines) == 4
    assert sent.keys() == {"time", "pid", "peer", "direction", "protocol", "kind", "message"}
    assert [line["message"]["text"] for line in (sent, received)] == ["a\n\x1b"] * 2
    assert [line["message"]["text"] for line in (answered, heard)] == ["\x1b\na"] * 2
    assert sent["peer"] == heard["peer"] != received["peer"] == answered["peer"]


def test_without_a_trace_nothing_is_written(tmp_path: Path) -> None:
    run_on("virtual", ask_and_answer)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_message_is_not_traced(tmp_path: Path) -> None:
    async def scenario(make: MakeTransport) -> None:
        alice, bob = await make("alice"), await make("bob")

        async def wait(stream: Stream) -> None:
            with pytest.raises(ProtocolViolationError):
                await receive_message(stream, Answer)

        await bob.serve(ASK, wait)
        await alice.connect(bob.addresses[0])
        stream = await alice.open_stream(bob.peer_id, ASK)
        await send_message(stream, Question(text="not what is expected"))
        await stream.close()

    start(tmp_path / "trace.jsonl")
    run_on("virtual", scenario)
    assert [line["direction"] for line in lines_of(tmp_path / "trace.jsonl")] == ["sent"]


def test_a_trace_is_bounded_and_its_lines_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    trace.active = Trace(path, limit_bytes=400)
    run_on("virtual", ask_and_answer)
    run_on("virtual", ask_and_answer)
    assert 0 < path.stat().st_size <= 400
    assert lines_of(path)[0]["kind"] == "Question"


def test_a_trace_is_for_its_user_only(tmp_path: Path) -> None:
    start(tmp_path / "trace.jsonl")
    assert (tmp_path / "trace.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file"), traced(tmp_path / "nowhere" / "trace"):
        raise AssertionError("the block is not entered")


def test_a_process_goes_on_without_the_trace_that_its_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(trace.TRACE_VARIABLE, str(tmp_path / "nowhere" / "trace"))
    trace.start_as_told()
    assert trace.active is None
    assert "cannot be written" in caplog.text
