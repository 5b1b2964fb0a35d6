"""A flag is named once, in a table, and fills the setting that the table says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
import typer.exceptions
from pydantic import BaseModel

from gossiptrain.cli.flags import Flag, Given, with_flags
from gossiptrain.cli.learn_flags import LEARN_FLAGS
from gossiptrain.cli.options import MEETING
from gossiptrain.cli.train_flags import TRAIN_FLAGS
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.simulate.learn_settings import LearnSettings
from gossiptrain.training.settings import TrainSettings

RATE = Flag(("--rate", "--old-rate"), float, "How fast.", fills="own.learning_rate")
PLACES = Flag(("--place",), list[str], "Where.", fills="own.places")
SHY = Flag(("--shy/--no-shy",), bool, "Whether to hide.", fills="own.shy")
LOUD = Flag(("--loud",), bool, "Whether to shout.", fills="own.loud", default=False)
FORM = Flag(("--form",), str, "How it looks.", default="round")
PEERS = Flag(("--peers",), int, "How many.", fills="other.peers", lowest=2, highest=4)
KINDS: dict[str, type[BaseModel]] = {
    "gossip": GossipSettings,
    "network": NetworkSettings,
    "train": TrainSettings,
    "learn": LearnSettings,
    "outer": LearnSettings,
}


def understood(*arguments: str) -> tuple[Path, Given]:
    """What a command with the flags above makes of `arguments`."""
    heard: list[tuple[Path, Given]] = []

    flags = (RATE, PLACES, SHY, LOUD, FORM, PEERS)

    @with_flags(*flags)
    def command(folder: Path, **values: Any) -> None:
        heard.append((folder, Given(flags, values)))

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    app(["folder", *arguments], standalone_mode=False)
    return heard[0]


def test_what_is_given_arrives_by_the_field_that_it_fills() -> None:
    folder, given = understood("--rate", "0.5", "--place", "a", "--place", "b", "--no-shy", "--loud", "--peers", "3")
    assert folder == Path("folder")
    assert given.settings("own") == {"learning_rate": 0.5, "places": ["a", "b"], "shy": False, "loud": True}
    assert given.settings("other") == {"peers": 3}


def test_what_is_not_given_says_nothing_about_a_setting() -> None:
    _, given = understood()
    assert given.settings("own") == {"learning_rate": None, "places": None, "shy": None, "loud": None}
    assert given[FORM] == "round"


def test_an_older_spelling_goes_on_to_work() -> None:
    assert understood("--old-rate", "0.25")[1][RATE] == 0.25


def test_a_value_out_of_its_range_is_refused() -> None:
    with pytest.raises(typer.exceptions.TyperException, match="4"):
        understood("--peers", "5")


def test_a_flag_can_fill_the_field_of_another_table() -> None:
    moved = PEERS.into("own")
    assert (moved.table, moved.field, moved.spellings) == ("own", "peers", PEERS.spellings)


@pytest.mark.parametrize("flags", [TRAIN_FLAGS, LEARN_FLAGS, MEETING], ids=["train", "learn", "bootstrap"])
def test_every_flag_fills_a_setting_that_exists_and_none_is_named_twice(flags: tuple[Flag, ...]) -> None:
    for flag in flags:
        if flag.table in KINDS:
            assert flag.field in KINDS[flag.table].model_fields, flag.spelling
    filled = [flag.fills for flag in flags if flag.fills]
    spellings = [spelling for flag in flags for spelling in flag.spellings]
    assert len(set(filled)) == len(filled)
    assert len(set(spellings)) == len(spellings)


def test_every_setting_of_a_peer_has_a_flag() -> None:
    filled = {flag.fills for flag in TRAIN_FLAGS}
    settings: dict[str, Any] = {name: KINDS[name].model_fields for name in ("gossip", "network", "train")}
    without = {f"{name}.{field}" for name, fields in settings.items() for field in fields} - filled
    kept_in_the_run_folder = {"network.known_peers", "network.membership_path", "network.peers_path"}
    by_others = {"network.search_local_network", "network.watch"}  # by --join and --page
    assert without == {"train.task", "train.variant"} | kept_in_the_run_folder | by_others, "the task is an argument"
