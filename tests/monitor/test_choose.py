"""The view that suits the output."""

from __future__ import annotations

import io

import pytest

from gossiptrain.errors import UsageError
from gossiptrain.monitor.choose import view_for
from gossiptrain.monitor.json_lines import JsonLinesView
from gossiptrain.monitor.plain import PlainView
from gossiptrain.monitor.terminal import TerminalView
from gossiptrain.monitor.view import Format


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("log_format", "stream", "term", "kind"),
    [
        ("auto", Terminal(), "xterm-256color", TerminalView),
        ("auto", Terminal(), "dumb", PlainView),
        ("auto", Terminal(), "", PlainView),
        ("auto", io.StringIO(), "xterm", PlainView),
        ("live", Terminal(), "xterm", TerminalView),
        ("plain", Terminal(), "xterm", PlainView),
        ("plain", io.StringIO(), "xterm", PlainView),
        ("json", Terminal(), "xterm", JsonLinesView),
        ("json", io.StringIO(), "xterm", JsonLinesView),
    ],
)
def test_the_view_follows_the_format_and_the_stream(
    monkeypatch: pytest.MonkeyPatch, log_format: Format, stream: io.StringIO, term: str, kind: type
) -> None:
    monkeypatch.setenv("TERM", term)
    view = view_for(log_format, stream)
    assert type(view) is kind
    view.close()


def test_a_live_view_without_a_terminal_is_a_mistake_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(UsageError, match="needs a terminal") as caught:
        view_for("live", io.StringIO())
    assert "plain" in caught.value.remedy
