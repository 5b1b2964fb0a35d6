"""Where a text is found, how it is checked and split."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gossiptrain.errors import DataCorruptError, DataMissingError
from gossiptrain.training.tasks.locate import DATA_VARIABLE
from gossiptrain.training.tasks.text_file import FILE, FOLDER, load_text


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


def write_text(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(content)
    return folder


def test_the_last_tenth_is_held_out(tmp_path: Path) -> None:
    text = load_text(write_text(tmp_path, bytes(range(109))))
    assert text.training.tobytes() == bytes(range(98))
    assert text.validation.tobytes() == bytes(range(98, 109))


def test_any_bytes_are_a_text_and_torch_may_use_them(tmp_path: Path) -> None:
    content = "Übermut tut selten gut. ".encode() * 10
    text = load_text(write_text(tmp_path, content))
    assert torch.from_numpy(text.training).dtype == torch.uint8
    assert text.training.tobytes() + text.validation.tobytes() == content


def test_the_environment_names_a_folder_as_the_argument_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(write_text(tmp_path, b"0123456789")))
    assert load_text(None).validation.tobytes() == b"9"


def test_without_a_text_it_is_said_where_to_get_one_and_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError) as caught:
        load_text(tmp_path)
    assert str(tmp_path / FILE) in caught.value.cause
    assert str(tmp_path / FOLDER / FILE) in caught.value.cause
    assert "https://" in caught.value.remedy
    assert "--data-dir" in caught.value.remedy
    with pytest.raises(DataMissingError, match=r"none was named"):
        load_text(None)


@pytest.mark.parametrize("named", ["", FOLDER])
def test_what_is_called_shakespeare_must_be_the_published_text(tmp_path: Path, named: str) -> None:
    write_text(tmp_path / FOLDER, b"To be, or not to")
    with pytest.raises(DataCorruptError, match=r"is not the published text[\s\S]*folder of another name"):
        load_text(tmp_path / named)


def test_a_folder_that_is_shakespeare_is_recognised_from_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_text(tmp_path / FOLDER, b"To be, or not to"))
    with pytest.raises(DataCorruptError, match="is not the published text"):
        load_text(Path())


def test_the_published_text_is_split_as_it_is_everywhere(real_shakespeare: Path) -> None:
    text = load_text(real_shakespeare)
    assert (len(text.training), len(text.validation)) == (1_003_854, 111_540)
    assert text.training[:14].tobytes() == b"First Citizen:"


def test_a_file_may_be_named_as_well_as_the_folder_that_holds_it(tmp_path: Path) -> None:
    (tmp_path / "quijote.txt").write_bytes(b"0123456789")
    assert load_text(tmp_path / "quijote.txt").validation.tobytes() == b"9"
