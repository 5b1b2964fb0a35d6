"""Scripts for the shell: what each offers is asked of the shell itself, where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import Command

BASH = """
. {script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _gossip; printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def offered(gossip: Command, words: str, folder: Path) -> set[str]:
    """What bash offers for the last of the words."""
    script = folder / "completion"
    script.write_text(gossip("completion", "bash").out, encoding="utf-8")
    asked = ["bash", "--norc", "-c", BASH.format(script=script, words=words)]
    return set(subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("gossip tr", {"train"}),
        ("gossip simulate ''", {"swarm", "learn"}),
        ("gossip train c", {"cifar10"}),
        ("gossip train digits --gossip_", {"--gossip-group-size", "--gossip-min-group-size", "--gossip-alpha"}),
        ("gossip train --strategy s", {"step-mix", "sync"}),
        ("gossip train digits --log_format ''", {"auto", "live", "plain", "json"}),
        ("gossip train --out mine", {"mine.safetensors"}),
        ("gossip simulate learn --cod", {"--codec"}),
        ("gossip completion f", {"fish"}),
    ],
)
def test_bash_offers_commands_flags_words_and_files(
    gossip: Command, tmp_path: Path, words: str, expected: set[str]
) -> None:
    (tmp_path / "mine.safetensors").touch()
    assert offered(gossip, words, tmp_path) == expected


def test_every_command_and_every_rare_flag_is_offered(gossip: Command) -> None:
    script = gossip("completion", "bash").out
    assert "--min-matchmaking-time" not in re.findall(r"--[a-z-]+", script), "of several spellings the first"
    assert {"--matchmaking-time", "--no-relay", "--help-all"} <= set(re.findall(r"--[a-z-]+", script))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_takes_the_script(gossip: Command, tmp_path: Path, shell: str) -> None:
    ended = gossip("completion", shell)
    assert ended.code == 0
    assert f"`gossip completion {shell}`" in ended.out
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(ended.out, encoding="utf-8")
    subprocess.run([shell, "-n", "script"], cwd=tmp_path, check=True)


def test_a_shell_that_is_not_known_is_refused_with_those_there_are(gossip: Command) -> None:
    ended = gossip("completion", "csh")
    assert ended.code == 2
    assert "bash, zsh, fish" in ended.err
