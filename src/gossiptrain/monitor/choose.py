"""Which view suits where the output goes."""

from __future__ import annotations

import os
from typing import TextIO

from gossiptrain.errors import UsageError
from gossiptrain.monitor.json_lines import JsonLinesView
from gossiptrain.monitor.plain import PlainView
from gossiptrain.monitor.terminal import TerminalView
from gossiptrain.monitor.view import Format, JoinText, View


def view_for(log_format: Format, stream: TextIO, *, join_text: JoinText = "") -> View:
    """The view named by `log_format`; `auto` is live in a terminal that can move its cursor, and plain elsewhere.

    Raises UsageError for `live` where the stream is no terminal.
    """
    terminal = stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
    if log_format == "json":
        return JsonLinesView(stream)
    if log_format == "live" and not terminal:
        raise UsageError(
            "The live view needs a terminal, and the output goes to a pipe, a file or a dumb terminal.",
            remedy="Use --log-format plain or json, or leave it out.",
        )
    if log_format == "plain" or not terminal:
        return PlainView(stream, join_text=join_text)
    return TerminalView(stream, join_text=join_text)
