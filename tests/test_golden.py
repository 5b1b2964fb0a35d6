"""Nobody changes what travels between peers without raising the protocol version."""

from __future__ import annotations

import copy

import pytest

from gossiptrain.core.fingerprint import PROTOCOL_VERSION
from tests import golden
from tests.golden import __main__ as renewal


def test_messages_are_what_they_were_when_the_protocol_version_was_set() -> None:
    known = golden.read()
    changed = golden.difference(known)
    assert not changed or known["version"] != PROTOCOL_VERSION, (
        f"The messages {', '.join(changed)} have changed, and peers of protocol version {PROTOCOL_VERSION} would not "
        "understand each other. Raise PROTOCOL_VERSION in core/fingerprint.py, say in the table of versions of "
        "docs/architecture.md what has changed, and run: python -m tests.golden"
    )
    assert known["version"] == PROTOCOL_VERSION, "The version was raised. Run: python -m tests.golden"


def test_a_change_of_any_bound_or_field_is_noticed() -> None:
    known = golden.read()
    assert golden.difference(known) == []
    narrower, without = copy.deepcopy(known), copy.deepcopy(known)
    narrower["messages"]["Ready"]["properties"]["round"]["minimum"] = 1
    del without["messages"]["Hello"]
    assert golden.difference(narrower) == ["Ready"]
    assert golden.difference(without) == ["Hello"]


def test_what_is_said_about_a_message_in_prose_is_no_part_of_it() -> None:
    text = golden.renewed()
    assert '"description"' not in text
    assert '"title"' not in text


def test_the_file_is_not_renewed_under_the_old_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = golden.GOLDEN.read_bytes()
    monkeypatch.setattr(renewal, "difference", lambda known: ["Ready"])
    monkeypatch.setattr("sys.argv", ["tests.golden"])
    with pytest.raises(SystemExit, match=r"Changed: Ready\. Raise PROTOCOL_VERSION"):
        renewal.main()
    assert golden.GOLDEN.read_bytes() == before
