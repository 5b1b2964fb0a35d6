"""How arguments are read, and how errors become a message and an exit code."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gossiptrain
from gossiptrain import errors
from gossiptrain.cli import main as cli
from gossiptrain.cli.main import with_hyphens
from gossiptrain.core.fingerprint import PROTOCOL_VERSION
from gossiptrain.errors import GossipError
from gossiptrain.training import parts
from tests.processes import Command, Family

WORDS = st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=8)


def error_kinds() -> list[type[GossipError]]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GossipError)]
    return sorted(kinds, key=lambda kind: kind.exit_code)


def failing_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Has training fail in this way."""

    def fail(inputs: object) -> None:
        raise error

    monkeypatch.setattr(parts, "Parts", fail)


@given(st.lists(WORDS, min_size=1, max_size=4), WORDS)
@settings(deadline=None, max_examples=50)
def test_flags_have_one_meaning_in_both_spellings_and_values_stay_as_they_are(parts: list[str], value: str) -> None:
    underscored, hyphened = "--" + "_".join(parts), "--" + "-".join(parts)
    value = f"{value}_x"
    assert with_hyphens([underscored, value]) == [hyphened, value]
    assert with_hyphens([f"{underscored}={value}"]) == [f"{hyphened}={value}"]
    assert with_hyphens([hyphened, value]) == [hyphened, value]


def test_what_follows_two_hyphens_alone_is_no_flag() -> None:
    assert with_hyphens(["--a_b", "--", "--a_b"]) == ["--a-b", "--", "--a_b"]


@pytest.mark.parametrize("kind", error_kinds(), ids=lambda kind: kind.__name__)
def test_every_error_is_a_message_of_three_parts_and_its_own_exit_code(
    gossip: Command, monkeypatch: pytest.MonkeyPatch, kind: type[GossipError]
) -> None:
    failing_with(monkeypatch, kind("It [bold]broke[/].", cause="Of [this].", remedy="Do [that]."))
    ended = gossip("train", "digits")
    assert ended.code == kind.exit_code
    assert ended.err.splitlines() == ["Error: It [bold]broke[/].", "  Of [this].", "  Do [that]."]


def test_no_two_errors_share_an_exit_code() -> None:
    codes = [kind.exit_code for kind in error_kinds()]
    assert len(codes) == len(set(codes))
    assert not {0, 130} & set(codes)


def test_a_long_message_is_not_broken_into_lines(gossip: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_with(monkeypatch, GossipError("/very/long/path" * 20))
    assert f"Error: {'/very/long/path' * 20}\n" in gossip("train", "digits").err


def test_ctrl_c_ends_with_130_and_no_word_of_blame(gossip: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_with(monkeypatch, KeyboardInterrupt())
    ended = gossip("train", "digits")
    assert ended.code == 130
    assert "Error" not in ended.err


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["bootstrap", "--help"], ["eval", "--help"]])
def test_help_ends_with_zero_and_shows_how_it_is_called(gossip: Command, arguments: list[str]) -> None:
    ended = gossip(*arguments)
    assert ended.code == 0
    assert f"Usage: gossip {' '.join(arguments[:-1])}".strip() in " ".join(ended.out.split())


def test_the_version_is_that_of_the_package_and_of_the_protocol(gossip: Command) -> None:
    ended = gossip("--version")
    assert ended.code == 0
    assert ended.out.startswith(f"gossip {gossiptrain.__version__}, protocol {PROTOCOL_VERSION}, torch ")
    assert ended.out.endswith(f", Python {platform.python_version()}\n")
    assert gossip("-V").out == ended.out


def test_an_unknown_command_is_named(gossip: Command) -> None:
    ended = gossip("trian")
    assert ended.code == 2
    assert "trian" in ended.err


@pytest.mark.parametrize(
    ("words", "said", "remedy"),
    [
        ("trian", "No such command 'trian'. Did you mean 'train'?", "See --help."),
        ("train cifar", "There is no task 'cifar'.", "Did you mean 'cifar10'? There are: digits, cifar10"),
        ("train", "What to learn was not said.", "For example: gossip train digits; or --join with a link"),
        ("train digits --epoch 3", "There is no flag --epoch.", "Did you mean --epochs?"),
        ("train digits --zzz 3", "There is no flag --zzz.", "See --help."),
        ("train digits --epochs", "--epochs needs a value after it.", "See --help."),
        ("train digits --relay=5", "--relay takes no value.", "See --help."),
        ("train digits --batch many", "--batch takes a whole number, not 'many'.", "See --help."),
        ("train digits --max_seconds=soon", "--max_seconds takes a number, not 'soon'.", "See --help."),
        ("train digits --gossip_alpha 2", "--gossip_alpha takes a number from 0.1 to 1, not 2.0.", "See --help for"),
        ("train digits --strategy loco", "--strategy takes one of average", "See --help for the settings"),
        ("train digits --log-format jso", "There is no log format 'jso'.", "Did you mean 'json'?"),
        ("train text --model tyni --alone", "There is no model 'tyni' for text.", "Did you mean 'tiny'?"),
        ("train digits --device gpu --alone", "The device 'gpu' cannot be used: there is no such kind", "Use --device"),
        ("demo --peers 99", "--peers takes a whole number from 2 to 16, not 99.", "See --help."),
        ("bootstrap --preset wlan", "--preset takes one of local, lan, wan, not 'wlan'.", "See --help for"),
        ("simulate learn digits --alpha 9", "--alpha takes a number from 0.1 to 1, not 9.0.", "See --help for"),
        ("invite --role traner", "There is no role 'traner'.", "Did you mean 'trainer'?"),
    ],
)
def test_a_mistake_is_named_as_it_was_typed_in_plain_words_and_with_what_was_meant(
    gossip: Command, words: str, said: str, remedy: str
) -> None:
    ended = gossip(*words.split())
    assert ended.code == 2
    first, *others = ended.err.splitlines()
    assert first.startswith(f"Error: {said}")
    assert others[-1].strip().startswith(remedy)
    assert "Input should" not in ended.err


def test_a_reader_that_goes_away_is_no_reason_for_a_traceback(family: Family) -> None:
    whoever_looks_once = [sys.executable, "-c", f"import subprocess; subprocess.run({_PIPED!r}, shell=True)"]
    peer = family.start(program=whoever_looks_once)
    assert peer.wait() == 0, peer.err
    assert "Traceback" not in peer.err
    assert "BrokenPipe" not in peer.err
    assert (family.folder / "run" / "summary.json").exists(), "training went on to its end"


_PIPED = f"{Path(sys.executable).with_name('gossip')} train digits --alone --max-steps 3000 --out run | head -n 1"


def test_the_commands_are_there_before_torch_is(tmp_path: Path) -> None:
    script = "import sys, gossiptrain.cli.main; sys.exit('torch' in sys.modules or 'hivemind' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, timeout=60, check=False).returncode == 0


def test_the_entry_of_the_package_runs_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["gossip"].partition(":")
    monkeypatch.setattr(cli, "main", lambda: sys.exit(77))
    with pytest.raises(SystemExit) as ended:
        getattr(importlib.import_module(module), name)()
    assert ended.value.code == 77


def test_ctrl_c_before_anything_is_imported_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "gossiptrain").symlink_to(Path(cli.__file__).parents[1])
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "gossiptrain", "--version"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (130, "")
