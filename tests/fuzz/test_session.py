"""What the fuzzer is for: it finds what is wrong with a decoder, keeps the input, and says how it is repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import __main__ as fuzz
from tests.fuzz.decoder import LIMIT_S, BytesStream, Decoder, Tally, finished, keep, where
from tests.fuzz.mutation import BEYOND_BYTES, Mutator

SEEDS = (b'{"step": 12, "name": "a"}', b"[]")


def careless(data: bytes) -> None:
    """Believes a length."""
    if data.startswith(b"{"):
        data[data.index(b"}")]


def inputs(seed: int, count: int = 200) -> list[bytes]:
    return list(Mutator(SEEDS, limit_bytes=1000, seed=seed).inputs(count))


def test_the_same_seed_gives_the_same_inputs_and_another_one_others() -> None:
    assert inputs(1) == inputs(1)
    assert inputs(1) != inputs(2)


def test_inputs_are_of_many_kinds_and_hardly_longer_than_allowed() -> None:
    found = inputs(3, 3000)
    assert len(set(found)) > 2000
    assert max(map(len, found)) == 1000 + BEYOND_BYTES
    assert any(data.startswith(b"[[[[") for data in found)
    assert any(b"9007199254740993" in data for data in found)


def test_what_is_raised_and_should_not_be_is_kept_once_with_its_first_input() -> None:
    decoder, tally = Decoder("careless", careless, SEEDS, (), raises=(KeyError,)), Tally()
    wrong = [data for data in inputs(1, 2000) if not tally.note(decoder, data)]
    assert list(tally.failures.values()) == wrong[:1]
    assert next(iter(tally.failures)).startswith("ValueError at test_session.py:")


def test_what_takes_long_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, LIMIT_S + 1])
    monkeypatch.setattr("tests.fuzz.decoder.time.thread_time", lambda: next(ticks))
    tally = Tally()
    assert not tally.note(Decoder("slow", len, SEEDS, ()), b"x")
    assert tally.slowest == b"x"


def test_an_input_that_was_kept_is_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder("careless", careless, SEEDS, ())
    monkeypatch.setattr(fuzz, "all_decoders", lambda: {"careless": decoder})
    harmless, harmful = keep(tmp_path, decoder, b"[]"), keep(tmp_path, decoder, b"{")
    assert fuzz.main(["--decoder", "careless", "--repeat", str(harmless)]) == 0
    with pytest.raises(ValueError, match="subsection not found"):
        fuzz.main(["--decoder", "careless", "--repeat", str(harmful)])
    assert "nothing wrong" in capsys.readouterr().out


@pytest.mark.long
def test_a_session_of_its_own_says_what_has_come_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--decoder", "invites", "--inputs", "200", "--blind", "--findings", str(tmp_path)]
    assert fuzz.main(asked) == 0
    name, inputs, *_ = capsys.readouterr().out.splitlines()[-1].split()
    assert (name, inputs) == ("invites", "200")


def test_a_session_that_ends_in_another_way_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.report("invites", fuzz.Result(failures={"the process ended with SIGSEGV": "some/file"}))
    assert fuzz.report("invites", fuzz.Result(growth_bytes=65 << 20, slowest="slow"))
    assert not fuzz.report("invites", fuzz.Result(inputs=5, seconds=1.0))
    said = capsys.readouterr().out
    assert "python -m tests.fuzz --decoder invites --repeat some/file" in said
    assert "took more than 64 MB" in said


def test_a_coroutine_that_would_wait_is_no_decoder() -> None:
    assert finished(BytesStream(b"ab").read_exactly(2)) == b"ab"
    with pytest.raises(ConnectionError) as ended:
        finished(BytesStream(b"a").read_exactly(2))
    assert where(ended.value).startswith("StreamClosedError at decoder.py:")
