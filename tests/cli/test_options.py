"""Settings are written to TOML and read back as the same."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w

from gossiptrain.cli.options import read_settings, read_toml, tables_of
from gossiptrain.config import GossipSettings, NetworkSettings, layered
from gossiptrain.errors import UsageError
from gossiptrain.training.settings import TrainSettings


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_written_is_read_back_as_the_same_settings(tmp_path: Path) -> None:
    train = TrainSettings(task="imagenet", variant={"model": "resnet50"}, batch=3)
    gossip, network = GossipSettings(gossip_alpha=0.5), NetworkSettings(preset="wan")
    tables = tables_of(train=train, gossip=gossip, network=network)
    without_none = {name: {k: v for k, v in table.items() if v is not None} for name, table in tables.items()}
    read = read_settings(written(tmp_path / "config.toml", tomli_w.dumps(without_none)))
    assert layered(TrainSettings, read["train"]) == train
    assert layered(GossipSettings, read["gossip"]) == gossip
    assert layered(NetworkSettings, read["network"]) == network


@pytest.mark.parametrize("text", ["gossip = ", "[gossip\n", "a = 1\na = 2\n"])
def test_what_is_not_toml_is_named_with_the_place_of_the_fault(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "config.toml", text)
    with pytest.raises(UsageError, match=r"config\.toml is not valid TOML: .*\(at "):
        read_toml(path)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not valid TOML"):
        read_toml(path)


@pytest.mark.parametrize("text", ["a = 0000-00-00", "a = " + "[" * 100_000, "a = " + "1" * 10_000])
def test_what_cannot_be_though_it_looks_like_toml_is_named_as_well(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="is not valid TOML"):
        read_toml(written(tmp_path / "config.toml", text))


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml cannot be read: No such file"):
        read_toml(tmp_path / "nowhere.toml")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_toml(tmp_path)


@pytest.mark.parametrize("text", ["[gosip]\ngossip_alpha = 0.5\n", "gossip_alpha = 0.5\n", "gossip = 3\n"])
def test_what_stands_in_no_known_table_is_refused_with_the_tables_there_are(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "config.toml", text)
    name = next(iter(tomllib.loads(text)))
    with pytest.raises(UsageError, match=f"holds '{name}'") as caught:
        read_settings(path)
    assert "[train], [gossip], [network]" in caught.value.remedy


def test_settings_of_an_older_version_are_read_by_their_former_names(tmp_path: Path) -> None:
    file = written(tmp_path / "config.toml", "[network]\nlane = 'direct'\nlane_port = 4013\n")
    network = layered(NetworkSettings, read_settings(file)["network"])
    assert (network.direct, network.direct_port) == ("direct", 4013)
