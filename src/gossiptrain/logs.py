"""What the program says of its own course to whoever looks for a fault: how much, in which form, and where to.

Owns levels, form and place of the log of a process, and the environment variables by which processes that it starts
keep the same log. Every floor has one logger, `gossiptrain.net` to `gossiptrain.cli`. Does not know what is logged.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gossiptrain.errors import UsageError

LEVELS_VARIABLE = "GOSSIPTRAIN_LOG"
"""A level, or several for floors: `info,swarm=debug`."""
FILE_VARIABLE = "GOSSIPTRAIN_LOG_FILE"
"""Where the log goes instead of standard error."""
DEBUG_VARIABLE = "GOSSIPTRAIN_DEBUG"
"""Not empty: everything is logged, libp2p's daemon included."""
FLOORS = ("cli", "simulate", "monitor", "training", "node", "swarm", "net")
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_NAMES = {level: name.upper() for name, level in LEVELS.items()}
ROOT = "gossiptrain"
USUAL = "warning"
ALIKE_PER_MINUTE = 20
_FORM = "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s: %(message)s"
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def parse_levels(text: str) -> dict[str, int]:
    """By name of the logger, its level. Raises UsageError."""
    levels = {ROOT: logging.WARNING}
    for part in text.lower().split(","):
        floor, equals, level = part.strip().rpartition("=")
        if level not in LEVELS or (equals and floor not in FLOORS):
            raise UsageError(
                f"There is no log level {part.strip()!r}.",
                remedy=f"Use {', '.join(LEVELS)}, also for single parts of the program: info,swarm=debug.",
            )
        levels[f"{ROOT}.{floor}" if equals else ROOT] = LEVELS[level]
    return levels


def debugging() -> bool:
    """Whether everything is to be logged, libp2p's daemon included."""
    return bool(os.environ.get(DEBUG_VARIABLE))


def wanted_levels(given: str | None = None) -> str:
    """What is given goes before GOSSIPTRAIN_LOG, that before GOSSIPTRAIN_DEBUG, that before the usual level."""
    return given or os.environ.get(LEVELS_VARIABLE) or ("debug" if debugging() else USUAL)


def start(levels: str | None = None, *, file: Path | None = None) -> Callable[[], None]:
    """From now on this process logs; returns what ends that. Raises UsageError for levels that do not exist.

    file: where to, unless GOSSIPTRAIN_LOG_FILE names another place; None: to standard error.
    """
    chosen = parse_levels(wanted_levels(levels))
    named = os.environ.get(FILE_VARIABLE)
    place = Path(named) if named else file
    handler: logging.Handler = logging.StreamHandler(sys.stderr) if place is None else _LogFile(place)
    handler.setFormatter(_OneLine(_FORM, "%Y-%m-%d %H:%M:%S"))
    handler.addFilter(_Sparing())
    before = {name: logging.getLogger(name).level for name in chosen}
    # At the root, so that what other libraries warn of goes to the same place.
    logging.getLogger().addHandler(handler)
    for name, level in chosen.items():
        logging.getLogger(name).setLevel(level)

    def stop() -> None:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
        logging.getLogger().removeHandler(handler)
        handler.close()

    return stop


@contextmanager
def shown(levels: str | None = None, *, file: Path | None = None) -> Iterator[None]:
    """In this block the process logs, and the processes that it starts do the same to the same place.

    Raises UsageError as `start` does.
    """
    before = {name: os.environ.get(name) for name in (LEVELS_VARIABLE, FILE_VARIABLE)}
    stop = start(levels, file=file)
    place = before[FILE_VARIABLE] or (str(file.absolute()) if file is not None else None)
    _set_environment({LEVELS_VARIABLE: levels or before[LEVELS_VARIABLE], FILE_VARIABLE: place})
    try:
        yield
    finally:
        _set_environment(before)
        stop()


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class _OneLine(logging.Formatter):
    """One line for each record, and below it the traceback of an error. What others sent cannot move the cursor."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.levelname = _NAMES.get(record.levelno, record.levelname)  # hivemind gives levels other names
        return super().formatMessage(record).replace("\n", "\\n")

    def format(self, record: logging.LogRecord) -> str:
        return _CONTROL_CHARACTERS.sub(lambda found: ascii(found[0])[1:-1], super().format(record))


class _Sparing(logging.Filter):
    """Lets through so many warnings and errors of one kind in a minute: others can provoke some as often as they like.

    What is asked for by its level, for example `debug`, is never held back.
    """

    def __init__(self) -> None:
        super().__init__()
        self._minute = 0
        self._seen: Counter[tuple[str, str]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        if (minute := int(record.created // 60)) != self._minute:
            self._minute = minute
            self._seen.clear()
        kind = (record.name, str(record.msg))
        self._seen[kind] += 1
        return self._seen[kind] <= ALIKE_PER_MINUTE


class _LogFile(logging.FileHandler):
    """A file that several processes append to; it is made when there is something to write."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, mode="a", encoding="utf-8", delay=True, errors="backslashreplace")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            self.handleError(record)
        else:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        # A full disk must not stop what is logged about, and there is no other place where it could be said.
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)
