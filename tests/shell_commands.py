"""The commands that documents show, and playing them: in a clone with nothing prepared, or quickly.

Owns what counts as a command of a document, and `Session`, in which a test types commands as a reader does. Does not
know which commands there are, nor what they should say.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.processes import Family, Peer, wait_until

ROOT = Path(__file__).parents[1]
ENVIRONMENT = Path(sys.executable).parents[1]
DOCUMENTS = (
    "README.md",
    *sorted(
        path.relative_to(ROOT).as_posix()
        for path in (*ROOT.glob("docs/tutorials/*.md"), *ROOT.glob("docs/how-to/*.md"))
    ),
)
"""Those whose commands are typed. The Spanish ones have the same, as `test_translations` shows."""


def blocks(document: str) -> list[tuple[str, str]]:
    """Language and content of each block of code."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(document: str) -> list[str]:
    """What its blocks of `sh` tell to type: one command a line, without comments."""
    lines = (line for language, body in blocks(document) if language == "sh" for line in body.splitlines())
    return [line.partition("  # ")[0].strip() for line in lines]


def program_of(document: str) -> str:
    """Its one block of Python."""
    (program,) = (body for language, body in blocks(document) if language == "python")
    return program


def clone_into(folder: Path) -> Path:
    """What `git clone` would give of the working tree: all files that git knows or would add, and nothing built."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (source := ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


class Session:
    """Terminals in one folder, in which commands are typed.

    typed: by bash in a clone, with the environment activated, as the reader has it. Otherwise `gossip` commands run in
    processes that have imported torch already, which is all that is skipped.
    """

    def __init__(self, family: Family, *, typed: bool, name: str = "gossiptrain", state: Path | None = None) -> None:
        """name: of the folder. state: where its user keeps swarms; another one stands for another computer."""
        self.folder = family.folder / name
        self.folder.mkdir(exist_ok=True)
        self._family, self._typed = family, typed
        self._environment = {} if state is None else {"XDG_STATE_HOME": str(state)}
        if typed:
            clone_into(self.folder)
            (self.folder / ".venv").symlink_to(ENVIRONMENT)
            # The environment may have been made for another copy of the sources.
            self._environment["PYTHONPATH"] = str(self.folder / "src")

    def type(self, command: str, *, added: str = "", **places: str) -> Peer:
        """Starts a command. added: flags for a test, at its end. places: what is filled in, by its name in capitals."""
        for name, value in places.items():
            command = command.replace(f"<{name}>", value)
        line = f"{command} {added}".strip()
        if not self._typed and line.startswith("gossip "):
            return self._family.start(*shlex.split(line)[1:], cwd=self.folder, environment=self._environment)
        replaced = "exec " if re.match(r"(gossip|python) ", line) else ""
        script = f". .venv/bin/activate\n{replaced}{line}" if self._typed else line
        # What follows the script does nothing, and shows whoever looks at the processes which command it is.
        words = ("-c", script, *line.split()[:2])
        return self._family.start(*words, program=["bash"], cwd=self.folder, environment=self._environment)

    def run(self, command: str, *, added: str = "", **places: str) -> str:
        """What a command writes to its end, which has to be a good one."""
        peer = self.type(command, added=added, **places)
        assert peer.wait() == 0, peer.err
        return peer.out


def wait_for(peer: Peer, pattern: str) -> str:
    """What the pattern, or its group, matches in the output of a peer; waits for it."""

    def found() -> re.Match[str] | None:
        return re.search(pattern, peer.out, re.MULTILINE)

    wait_until(lambda: found() is not None or peer.process.poll() is not None, f"{pattern!r} of {peer.command}")
    match = found()
    assert match is not None, f"{pattern!r} was not said\n{peer.out}\n{peer.err}"
    return match[match.re.groups and 1]
