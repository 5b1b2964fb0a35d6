"""Documents cannot go stale: what they name exists, and what they promise agrees with the code."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import itertools
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

import gossiptrain
from gossiptrain import errors, events
from gossiptrain.cli.main import EXIT_INTERRUPTED, app, with_hyphens
from gossiptrain.cli.train_flags import TRAIN_FLAGS
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.core.fingerprint import PROTOCOL_VERSION
from gossiptrain.node import control
from gossiptrain.simulate.swarms.extremes import messages_of
from gossiptrain.training.settings import TrainSettings
from gossiptrain.training.tasks import TASK_NAMES, task_named
from tests.golden import MODULES
from tests.processes import Command

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src"
PACKAGE = SOURCES / "gossiptrain"
DOCUMENTS = (
    "README.md",
    "GOSSIP_ALGORITHM.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "README.es.md",
    *sorted(
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "docs").rglob("*.md")
        if path.name not in ("algorithms.md", "performance.md")  # They speak of the flags of benchmarks.
    ),
)
OF_THE_READER = {"config.toml", "log.txt", "input.txt", "mine.txt", "yours.txt", "my_loop.py"}
"""Files that a document speaks of and that are not of the repository."""
SETTINGS_PAGE, MESSAGES_PAGE, EVENTS_PAGE = "docs/settings.md", "docs/messages.md", "docs/events.md"
TRAINED_MODEL_PAGE = "docs/how-to/trained-model.md"
PLACES = (ROOT, SOURCES, PACKAGE, ROOT / "tests")
"""Where a path in a document may begin."""
README_LINES = 200
MAX_SENSIBLE = 100
"""Upper limits above this one only catch typing errors; a document need not name them."""

KINDS: dict[str, type[BaseModel]] = {"gossip": GossipSettings, "network": NetworkSettings, "train": TrainSettings}
LEFT_TO_HELP = {"--guard", "--run", "--seed", "--threads", "--data-dir", "--alone", "--local-network"}
"""Flags for settings that the page of settings leaves to `--help`."""
SETTINGS: dict[str, tuple[type[BaseModel], str]] = {
    flag.spelling: (KINDS[flag.table], flag.field)
    for flag in TRAIN_FLAGS
    if flag.table in KINDS and flag.spelling not in LEFT_TO_HELP
}
WORDS_FOR_NONE = {
    "by strategy",
    "by task",
    "by size",
    "by precision",
    "none",
    "once an epoch",
    "all",
    "run folder",
    "where needed",
}


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def spans(document: str) -> list[str]:
    """What stands between single backticks, outside of blocks."""
    prose = re.sub(r"^```.*?^```", "", text_of(document), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


def command_lines(document: str) -> list[str]:
    """The commands in blocks and spans, without comments and their program's folder."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text_of(document), flags=re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line.removeprefix(".venv/bin/") for line in (*lines, *spans(document))]


def table(document: str, header: str) -> list[list[str]]:
    """The rows of all tables whose first header cell begins with `header`."""
    lines = text_of(document).splitlines()
    rows: list[list[str]] = []
    for start in (number for number, line in enumerate(lines) if line.startswith(f"| {header}")):
        body = itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
        rows += [[cell.strip() for cell in line.strip("|").split("|")] for line in body]
    assert rows, f"there is no table {header!r} in {document}, or it is empty"
    return rows


@cache
def source_text() -> str:
    """All string literals of the package, each as one piece; what is filled in is left out as a mark."""
    pieces: list[str] = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                pieces.append("".join(str(p.value) if isinstance(p, ast.Constant) else "\0" for p in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                pieces.append(node.value)
    return "\n".join(pieces)


@cache
def flags_of(*words: str) -> set[str]:
    """Every spelling of every flag of the `gossip` command that the words name, as far as they name one."""
    command: Any = typer.main.get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    return {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)} | {"--help"}


@cache
def all_flags() -> set[str]:
    names = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    simulations = names["simulate"].commands
    commands = [(), *((name,) for name in names), *(("simulate", name) for name in simulations)]
    examples = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "examples").rglob("*.py"))
    return set(re.findall(r'"(--[a-z-]+)"', examples)).union(*(flags_of(*words) for words in commands))


# Commands and flags.

OTHER_PROGRAMS = ("accelerate ",)
"""Whose flags are none of ours."""


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_is_shown_is_accepted(document: str) -> None:
    for line in command_lines(document):
        words = shlex.split(line.replace("'", "")) if line.startswith(("gossip ", "python src/trainGossip")) else []
        if not words:
            continue
        command = words[1:3] if words[0] == "gossip" else ["train"]
        given = {word.partition("=")[0] for word in with_hyphens(words) if word.startswith("--")}
        assert given <= flags_of(*command), line
        assert words[0] != "python" or (ROOT / words[1]).is_file(), line


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_flag_that_is_mentioned_exists(document: str) -> None:
    for span in (span for span in spans(document) if not span.startswith(OTHER_PROGRAMS)):
        for flag in with_hyphens(re.findall(r"(?<!\S)--[a-z][a-z_-]*", span)):
            assert flag in all_flags(), f"{flag} in `{span}`"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_goal_of_make_and_every_benchmark_that_is_named_exists(document: str) -> None:
    goals = re.findall(r"^([\w-]+):", text_of("Makefile"), re.MULTILINE)
    for line in command_lines(document):
        if found := re.match(r"make ([\w-]+)", line):
            assert found[1] in goals, line
        if found := re.match(r"python -m (benchmarks\.\w+)(.*)", line):
            source = inspect.getsource(importlib.import_module(module_that_runs(found[1])))
            assert all(f'"{flag}"' in source for flag in re.findall(r"--[a-z-]+", found[2])), line


def module_that_runs(name: str) -> str:
    """What `python -m name` runs."""
    package = importlib.util.find_spec(name)
    is_started = package is not None and package.submodule_search_locations is not None
    main = f"{name}.__main__"
    return main if is_started and importlib.util.find_spec(main) is not None else name


def test_the_lines_of_two_terminals_stand_in_the_readme_as_they_are_promised() -> None:
    lines = command_lines("README.md")
    first = "python src/trainGossipCifar.py --host_maddr /ip4/0.0.0.0/tcp/4011"
    place = "/ip4/127.0.0.1/tcp/4011/p2p/<PEER_ID>"
    assert first in lines
    assert f"python src/trainGossipCifar.py --initial_peer {place} --host_maddr /ip4/0.0.0.0/tcp/4012" in lines
    sizes = "--gossip_group_size 8 --gossip_min_group_size 3 --gossip_alpha 0.9"
    assert f"{first} {sizes} --batch 64 --epochs 20" in lines


# Files, functions, tests.


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_and_test_that_is_named_exists(document: str) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", text_of(document)):
        assert (ROOT / document).parent.joinpath(link).is_file(), link
    started = [line.split()[1] for line in command_lines(document) if re.match(r"python [\w/]+\.py", line)]
    for span in (*spans(document), *started):
        path, _, test = span.partition("::")
        if not re.fullmatch(r"[\w./-]+\.(py|md|svg|txt|toml)", path) or path in OF_THE_READER:
            continue
        found = [place / path for place in PLACES if (place / path).is_file()]
        assert found, f"{path} in {document}"
        if test:
            assert re.search(rf"^(async )?def {test}\(", found[0].read_text(encoding="utf-8"), re.MULTILINE), span


def test_every_room_of_the_package_is_on_the_map() -> None:
    named = set(spans("docs/architecture.md")) | set(re.findall(r"[\w/]+\.py", text_of("docs/architecture.md")))
    rooms = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    missing = rooms - named
    assert not missing


def test_every_step_of_a_parameters_way_is_a_function_of_its_file() -> None:
    way = table("docs/architecture.md", "| file | function")
    assert [row[0] for row in way] == [str(number + 1) for number in range(len(way))]
    for _, file, function, _ in way:
        assert function.strip("`") in set(functions_in(PACKAGE / file.strip("`"))), f"{function} of {file}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_function_of_a_class_that_is_named_exists(document: str) -> None:
    everything = all_functions()
    classes = {name.partition(".")[0] for name in everything if "." in name}
    for span in spans(document):
        owner, _, name = span.removesuffix("()").partition(".")
        if owner in classes and name.isidentifier():
            assert span.removesuffix("()") in everything, span


@cache
def all_functions() -> frozenset[str]:
    return frozenset(name for path in PACKAGE.rglob("*.py") for name in functions_in(path))


def functions_in(path: Path) -> Iterator[str]:
    """`function` and `Class.method` for all that a file defines."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}"


def test_every_protocol_and_every_message_is_described() -> None:
    rows = table("docs/architecture.md", "protocol |")
    served = {re.search(r"/gossiptrain/\w+", row[0])[0] for row in rows}  # type: ignore[index]
    assert served == set(re.findall(r"^/gossiptrain/\w+$", source_text(), re.MULTILINE))
    described = set(re.findall(r"`(\w+)`", "".join(row[2] for row in rows)))
    assert described == {kind.__name__ for kind in messages_of(*MODULES)}
    between = text_of("docs/architecture.md").partition("**Between trainer and node**")[2].partition("\n\n")[0]
    assert {kind.__name__ for kind in messages_of(control)} <= set(re.findall(r"`(\w+)`", between))


def test_every_protocol_version_is_in_the_table_with_what_it_changed() -> None:
    versions = [int(row[0]) for row in table("docs/architecture.md", "protocol version")]
    assert versions == list(range(1, PROTOCOL_VERSION + 1)), "a row for each version, up to PROTOCOL_VERSION"


def test_the_floors_stand_as_the_import_contract_has_them() -> None:
    drawn = re.findall(r"^    (\w+)/ .*floor (\d)$", text_of("docs/architecture.md"), re.MULTILINE)
    layers = text_of("pyproject.toml").partition("layers = [")[2].partition("]")[0]
    rooms = [name for name in re.findall(r'"(\w+)"', layers) if name != "__main__"]  # which is above all floors
    assert [name for name, _ in drawn] == rooms[: len(drawn)]
    assert [floor for _, floor in drawn] == sorted((floor for _, floor in drawn), reverse=True)
    assert {name for name, _ in drawn} == {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


# Settings.


def settings_in_words() -> dict[str, tuple[str, str]]:
    """Default and range of each flag in the tables; several flags in one row share or divide the cells."""
    found = {}
    for flags, default, span, _ in table(SETTINGS_PAGE, "flag"):
        names = re.findall(r"--[a-z-]+", flags)
        ranges = span.split(", ") if len(names) > 1 and ", " in span else [span] * len(names)
        found.update({name: (default.strip("`"), part) for name, part in zip(names, ranges, strict=True)})
    return found


def test_the_table_of_settings_lists_the_flags_that_are_checked_here() -> None:
    assert settings_in_words().keys() == SETTINGS.keys()
    assert SETTINGS.keys() <= flags_of("train")


@pytest.mark.parametrize("flag", SETTINGS)
def test_default_and_range_of_a_setting_are_those_of_the_code(flag: str) -> None:
    kind, field = SETTINGS[flag]
    schema = kind.model_json_schema()["properties"][field]
    default, span = settings_in_words()[flag]
    assert default in defaults_in_words(kind.model_fields[field].default)
    number = next(part for part in (*schema.get("anyOf", ()), schema) if part.get("type") != "null")
    if number.get("type") in ("integer", "number"):
        assert span in ranges_in_words(number)
    elif "enum" in number and span:
        assert set(span.split(", ")) == set(number["enum"])


def defaults_in_words(default: object) -> set[str]:
    if default is None or default == ():
        return WORDS_FOR_NONE
    if isinstance(default, bool):
        return {"yes" if default else "no"}
    return {", ".join(default) if isinstance(default, tuple) else str(default)}


def ranges_in_words(number: dict[str, Any]) -> set[str]:
    """`2-64`, or `≥ 1` and `> 0` where the upper limit is beyond all use."""
    lowest = number.get("minimum", number.get("exclusiveMinimum"))
    highest = number.get("maximum", number.get("exclusiveMaximum"))
    words = {f"{'≥' if 'minimum' in number else '>'} {lowest:g}"}
    if highest is None:
        return words
    spans = {f"{lowest}-{highest}", f"{lowest:g}-{highest:g}"}
    return spans if highest <= MAX_SENSIBLE else {*spans, *words}


def test_what_depends_on_the_task_is_as_in_its_recipe() -> None:
    rows = {row[0]: row[1:] for row in table(SETTINGS_PAGE, "by task")}
    assert rows.keys() == set(TASK_NAMES)
    for name, cells in rows.items():
        variant: dict[str, Any] = {"classes": 2, "class_digest": "00"} if name == "imagenet" else {}
        recipe = task_named(name, **variant).recipe
        expected = [recipe.batch, recipe.epochs, recipe.learning_rate, recipe.every_steps]
        assert [float(cell) for cell in cells[:-1]] == expected, name
        assert cells[-1] == recipe.strategy


# The folder of a run.


def test_a_trained_model_is_loaded_as_it_is_described(gossip: Command, tmp_path: Path) -> None:
    assert gossip("train", "digits", "--alone", "--max-steps", "2", "--out", "run").code == 0
    assert gossip("export", "run", "--to", "model.safetensors").code == 0
    blocks = re.findall(r"^```python\n(.*?)^```", text_of(TRAINED_MODEL_PAGE), flags=re.MULTILINE | re.DOTALL)
    (loading,) = [block for block in blocks if "load_model" in block]
    exec(loading, {})


# Errors.


def error_classes() -> dict[str, int]:
    found, pending = {}, [errors.GossipError]
    while pending:
        kind = pending.pop()
        found[kind.__name__] = kind.exit_code
        pending.extend(child for child in kind.__subclasses__() if child.__module__ == errors.__name__)
    return found


def test_every_exit_code_is_in_the_table_with_its_class() -> None:
    cells = [row[0] for row in table(MESSAGES_PAGE, "exit code")]
    listed = {found[2]: int(found[1]) for cell in cells if (found := re.fullmatch(r"(\d+) `(\w+)`", cell))}
    assert listed == error_classes()
    assert str(EXIT_INTERRUPTED) in cells
    assert len(cells) == len(listed) + 1


def test_every_message_that_is_quoted_is_one_that_is_said() -> None:
    quoted = re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text_of(MESSAGES_PAGE))
    assert len(quoted) > 12
    for message in quoted:
        assert message in source_text(), message


def test_the_tree_of_errors_at_the_head_of_its_file_is_the_real_one() -> None:
    drawn = re.findall(r"(\w+Error)\s+(\d+)", errors.__doc__ or "")
    assert {name: int(code) for name, code in drawn} == error_classes()


# Events.


def test_every_event_is_described_with_all_of_its_fields() -> None:
    rows = {row[0].strip("`"): row[1:3] for row in table(EVENTS_PAGE, "event |")}
    assert rows.keys() == events.EVENT_KINDS.keys()
    for tag, (name, fields) in rows.items():
        kind = events.EVENT_KINDS[tag]
        assert name == f"`{kind.__name__}`"
        own = kind.model_fields.keys() - events.EventBase.model_fields.keys()
        without_notes = re.sub(r"\(.*?\)", "", fields)
        assert set(re.findall(r"`(\w+)`", without_notes)) == own, tag


# The whole.


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= README_LINES


def test_the_change_log_knows_this_version() -> None:
    version = re.search(r'^version = "([\d.]+)"', text_of("pyproject.toml"), re.MULTILINE)
    assert version is not None
    assert f"\n## {version[1]}\n" in text_of("CHANGELOG.md")
    assert version[1] == gossiptrain.__version__
