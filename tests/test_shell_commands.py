"""Every command that the README, the tutorials and the guides show runs in a test, and none is unaccounted for.

Owns the table of which test runs which command, and that the real parser takes all of them. Those that only the long
tests run as they are typed name a quick one as well, which runs the same with other words.
"""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from gossiptrain.cli.flags import Given
from gossiptrain.cli.joining import network_settings, with_places
from gossiptrain.cli.main import app, with_hyphens
from gossiptrain.cli.train_flags import TRAIN_FLAGS
from gossiptrain.config import GossipSettings, NetworkSettings, layered
from gossiptrain.net.addresses import check_addresses
from gossiptrain.swarm.access.link import InviteLink
from gossiptrain.training.settings import TrainSettings
from tests.shell_commands import DOCUMENTS, ROOT, blocks, commands
from tests.swarm.founders import ADDRESS, Founder

FIRST_LINES = "test_as_typed::test_the_first_lines_on_a_computer_that_has_nothing"
TUTORIAL = "test_tutorials::test_a_first_swarm_on_one_computer"
LAPTOPS = "test_as_typed::test_two_laptops"
TWO_COMPUTERS = "test_as_typed::test_the_tutorial_of_two_computers"
OPEN = "test_as_typed::test_an_open_swarm_on_one_network"
SCRIPTS = "test_as_typed::test_the_three_scripts"
MACHINES = "test_as_typed::test_machines_over_ssh"
HELPER = "test_as_typed::test_at_home_with_a_helper"
FORWARDED = "test_as_typed::test_at_home_with_a_forwarded_port"
TRAINED_MODEL = "test_tutorials::test_a_trained_model_that_writes"
OWN_LOOP = "test_as_typed::test_the_example_of_an_own_loop"
OWN_MODEL = "test_as_typed::test_a_program_of_ones_own"
FINE_TUNING = "test_as_typed::test_fine_tuning"

INVITED = "cli.test_invite::test_who_was_invited_trains_with_the_founder_and_the_link_stands_nowhere"
QUICKLY = {
    FIRST_LINES: "cli.test_demo::test_a_short_demonstration_from_the_first_peer_to_the_verdict",
    LAPTOPS: INVITED,
    TWO_COMPUTERS: INVITED,
    OPEN: "net.test_local_network",
    SCRIPTS: "cli.test_train_swarm::test_the_lines_of_two_terminals_on_the_real_cifar10",
    MACHINES: INVITED,
    HELPER: "cli.test_bootstrap::test_a_helper_keeps_its_address_over_restarts_and_ends_politely",
    FORWARDED: "cli.test_join_text::test_there_is_a_command_for_this_computer_this_network_and_the_internet",
    OWN_LOOP: "test_examples::test_two_own_loops_find_each_other_and_end_with_bitwise_the_same_model",
    OWN_MODEL: "test_tutorials::test_your_own_model",
    FINE_TUNING: "integrations.test_finetune::test_a_base_in_float32_and_one_in_bfloat16_end_with_the_same_adapters",
}
"""Which test of `make test` shows what those show that only `make test-long` runs."""

LISTENING = "gossip train cifar10 --model tiny --host-maddr /ip4/0.0.0.0/tcp/4011 --direct-port 4012 --out"
RUNS_IN: dict[str, str] = {
    "git clone <this repository> gossiptrain": FIRST_LINES,
    "cd gossiptrain": FIRST_LINES,
    "make setup": FIRST_LINES,
    "make demo": FIRST_LINES,
    "make test": FIRST_LINES,
    ". .venv/bin/activate": FIRST_LINES,
    "gossip train digits --alone --share 1/2 --out runs/alone": TUTORIAL,
    "gossip eval runs/alone": TUTORIAL,
    "gossip train digits --share 1/2 --epochs 100000 --out runs/one": TUTORIAL,
    "gossip train digits --share 2/2 --epochs 100000 --out runs/two --initial-peer <ADDRESS>": TUTORIAL,
    "gossip train digits --resume runs/two": TUTORIAL,
    "gossip eval runs/one": TUTORIAL,
    "gossip eval runs/one runs/two": TUTORIAL,
    "gossip export runs/one --to model.safetensors": TUTORIAL,
    "tail -n 3 runs/one/metrics.jsonl": TUTORIAL,
    "gossip train text --model tiny --alone --out runs/writer": TRAINED_MODEL,
    "gossip sample runs/writer --prompt ROMEO: --length 200": TRAINED_MODEL,
    "gossip sample runs/writer --temperature 0.5 --seed 1": TRAINED_MODEL,
    "echo Once upon | gossip sample runs/writer --prompt - | head -n 3": TRAINED_MODEL,
    f"{LISTENING} runs/laptop": LAPTOPS,
    "gossip invite": LAPTOPS,
    "gossip train cifar10 --model tiny --join '<LINK>'": LAPTOPS,
    "gossip train cifar10 --resume runs/laptop": LAPTOPS,
    "gossip eval runs/laptop": LAPTOPS,
    "gossip export runs/laptop --to model.safetensors": LAPTOPS,
    f"{LISTENING} runs/first": TWO_COMPUTERS,
    "gossip train cifar10 --model tiny --join '<LINK>' --out runs/second": TWO_COMPUTERS,
    "gossip doctor /ip4/192.168.1.20/tcp/4011/p2p/<PEER_ID>": TWO_COMPUTERS,
    "gossip revoke": TWO_COMPUTERS,
    "gossip train cifar10 --resume runs/first": TWO_COMPUTERS,
    "gossip train cifar10 --model tiny --open": OPEN,
    "gossip train cifar10 --model tiny --open --join": OPEN,
    "python my_loop.py": OWN_MODEL,
    "python my_loop.py <ADDRESS>": OWN_MODEL,
    "sha256sum spirals-*.safetensors": OWN_MODEL,
    "gossip invite --run spirals": OWN_MODEL,
    "python examples/own_loop.py": OWN_LOOP,
    "python examples/own_loop.py <ADDRESS>": OWN_LOOP,
    "gossip invite --run finetune": FINE_TUNING,
    "gossip invite --expires 7d": HELPER,
    "gossip doctor <HELPER_ADDRESS>": HELPER,
}
"""By command, the test that types it."""
IN_PIECES: dict[str, str] = {
    r"python src/trainGossipCifar\.py --\w+": SCRIPTS,
    r"(for i in .*|ssh gpu\d .*)": MACHINES,
    r"gossip bootstrap --host-maddr /ip4/0.0.0.0/tcp/4001 --identity helper.key": HELPER,
    r"gossip train cifar10 --model tiny --preset wan --codec int8 --every-seconds 60 --initial-peer": HELPER,
    r"gossip train cifar10 --model tiny --preset wan --host-maddr \S+ --announce-maddr": FORWARDED,
    r"python examples/finetune/train\.py --model HuggingFaceTB/SmolLM2-135M --text": FINE_TUNING,
}
"""The same for those that the test puts together, by how they begin."""
PLACES = {"PEER_ID": ADDRESS.rpartition("/")[2], "ADDRESS": ADDRESS, "HELPER_ADDRESS": ADDRESS}
SHOWN = [(document, command) for document in DOCUMENTS for command in commands(document)]
ALL = sorted({command for _, command in SHOWN})


def runner_of(command: str) -> str | None:
    """The test that types it."""
    by_beginning = (test for pattern, test in IN_PIECES.items() if re.match(pattern, command))
    return RUNS_IN.get(command) or next(by_beginning, None)


def source_of(test: str) -> str:
    """The source of `module::function` below `tests`, or of a whole module; nothing is imported for it."""
    module, _, name = test.partition("::")
    text = (ROOT / "tests" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    if not name:
        return text
    (found,) = (each for each in ast.parse(text).body if isinstance(each, ast.FunctionDef) and each.name == name)
    return "\n".join([*map(ast.unparse, found.decorator_list), ast.get_source_segment(text, found) or ""])


def test_every_command_runs_in_a_test() -> None:
    assert [command for command in ALL if runner_of(command) is None] == []
    assert RUNS_IN.keys() <= set(ALL), "commands that no document shows any more"
    assert all(any(re.match(pattern, command) for command in ALL) for pattern in IN_PIECES)


def test_each_test_has_the_words_of_the_commands_that_it_is_said_to_run() -> None:
    for command, test in RUNS_IN.items():
        assert " ".join(source_of(test).replace('"', " ").split()).count(command), command
    for pattern, test in IN_PIECES.items():
        words = [word for word in re.findall(r"--[\w-]+|src/\w+|<\w+>", pattern) if not word.endswith("\\w")]
        assert all(word in source_of(test) for word in words), pattern


def test_what_only_the_long_tests_type_is_shown_by_quick_ones_as_well() -> None:
    typed = {test for test in (*RUNS_IN.values(), *IN_PIECES.values()) if test.startswith("test_as_typed::")}
    assert typed == QUICKLY.keys()
    assert all(source_of(test) for test in QUICKLY.values())
    assert "pytest.mark.long" not in "".join(source_of(test) for test in QUICKLY.values() if "::" in test)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_stand_in_blocks_of_sh_and_nowhere_else(document: str) -> None:
    for language, body in blocks(document):
        assert language in ("sh", "python", "diff", "text"), f"a block of {document} has no language"
        if language != "sh":
            assert not re.search(r"^(gossip|make|python|pip|git|cd) ", body, re.MULTILINE), body


# The real parsers.


def gossip_commands(command: str) -> list[list[str]]:
    """The words of all calls of `gossip` and of the three scripts in a command, whatever else it does."""
    for name, value in PLACES.items():
        command = command.replace(f"<{name}>", value)
    command = command.replace("<LINK>", Founder().link().encode()).replace("$i", "2")
    if script := re.match(r"python src/(\w+)\.py(.*)", command):
        task = {"trainGossip": "digits", "trainGossipCifar": "cifar10", "trainGossipImagenet": "imagenet"}[script[1]]
        return [["train", task, *shlex.split(script[2])]]
    if command.startswith("gossip "):
        return [shlex.split(command)[1:]]
    return [shlex.split(each) for each in re.findall(r"\.venv/bin/gossip ([^>&|;']+)", command)]


@pytest.mark.parametrize("command", [command for command in ALL if gossip_commands(command)])
def test_the_real_parser_takes_it(command: str) -> None:
    for words in gossip_commands(command):
        name, *rest = with_places(with_hyphens(words))
        parser: Any = typer.main.get_command(app)
        context = parser.commands[name].make_context(name, rest)
        if name == "train":
            check_settings(Given(TRAIN_FLAGS, context.params), task=context.params["task"])
        for word in rest:
            if word.startswith("gossip://"):
                assert InviteLink.parse(word)


def check_settings(given: Given, *, task: str) -> None:
    """Raises where a setting is out of its range, or an address is none."""
    joined = network_settings(given[next(flag for flag in TRAIN_FLAGS if flag.spelling == "--join")])
    network = given.settings("network")
    named = [*(network["initial_peers"] or ()), *joined["initial_peers"]]
    check_addresses(layered(NetworkSettings, {**network, **joined, "initial_peers": named}))
    layered(GossipSettings, given.settings("gossip"))
    layered(TrainSettings, {"task": task, **given.settings("train")})


@pytest.fixture(scope="module")
def parser_of_the_example() -> argparse.ArgumentParser:
    """The parser of the fine-tuning example, as its program makes it; what else it imports is left out."""
    program = ast.parse((ROOT / "examples" / "finetune" / "train.py").read_text(encoding="utf-8"))
    (main,) = (each for each in program.body if isinstance(each, ast.FunctionDef) and each.name == "main")
    made = [each for each in main.body if ast.unparse(each).startswith("parser")]
    assert "given = parser.parse_args()" in map(ast.unparse, main.body)
    names: dict[str, Any] = {"argparse": argparse, "Path": Path, "__doc__": ""}
    exec(compile(ast.Module(made, []), "train.py", "exec"), names)
    parser = names["parser"]
    assert isinstance(parser, argparse.ArgumentParser)
    return parser


@pytest.mark.parametrize("command", [command for command in ALL if "finetune/train.py" in command])
def test_the_parser_of_the_example_takes_it(command: str, parser_of_the_example: argparse.ArgumentParser) -> None:
    python, program, *rest = shlex.split(command)
    assert (python, (ROOT / program).is_file()) == ("python", True)
    assert parser_of_the_example.parse_args(rest).text.suffix == ".txt"
