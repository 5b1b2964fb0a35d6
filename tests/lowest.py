"""`python -m tests.lowest [NAME==VERSION ...]`: constraints that hold every direct dependency at its lowest version.

Owns how the lower bounds of pyproject.toml are read. What is named on the command line goes before them: where a
version is not to be had, for example torch for this computer, it is another one. `make test-lowest` uses it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def lowest(project: dict[str, Any]) -> dict[str, str]:
    """By name, the lowest version of each dependency that users have. Raises ValueError where one has no bound."""
    found = {}
    for requirement in project["project"]["dependencies"]:
        parts = re.fullmatch(r"([\w-]+)>=([\d.]+)(,<[\d.]+)?", requirement)
        if parts is None:
            raise ValueError(f"the dependency {requirement!r} has not the form name>=lowest or name>=lowest,<highest")
        found[parts[1]] = parts[2]
    return found


def main() -> None:
    """Prints one constraint a line."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    given = dict(argument.split("==") for argument in sys.argv[1:])
    for name, version in {**lowest(project), **given}.items():
        print(f"{name}=={version}")  # noqa: T201 - this is its output


if __name__ == "__main__":
    main()
