"""The package stands as its architecture says: no circle of modules, and no arrow to an upper floor.

`lint-imports` compares whole floors; here every module counts, and imports inside of functions do, too.
"""

from __future__ import annotations

import re
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "gossiptrain"


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    """What each module imports directly, of the package itself; imports for the type checker alone left out."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that all import each other, directly or through others (Tarjan's components)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = lowest[module] = len(index)
        path.append(module)
        for imported in sorted(arrows[module]):
            if imported not in index:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in path:
                lowest[module] = min(lowest[module], index[imported])
        if lowest[module] == index[module]:
            circle = path[path.index(module) :]
            del path[path.index(module) :]
            if len(circle) > 1 or module in arrows[module]:
                found.append(sorted(circle))

    for module in sorted(arrows):
        if module not in index:
            visit(module)
    return found


def floors() -> list[str]:
    """The names of the floors from the top, as the import contract in pyproject.toml has them."""
    layers = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("layers = [")[2].partition("]")[0]
    return re.findall(r'"(\w+)"', layers)


def test_a_circle_is_found_where_there_is_one() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}}) == [["b", "c"], ["d"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_modules_import_each_other_in_a_circle(arrows: dict[str, set[str]]) -> None:
    assert circles(arrows) == []


def test_no_module_imports_one_of_an_upper_floor(arrows: dict[str, set[str]]) -> None:
    height = {name: -level for level, name in enumerate(floors())}

    def floor(module: str) -> int | None:
        return height.get(module.partition(".")[2].partition(".")[0])

    assert {module for module in arrows if module.count(".") == 1} <= {f"{PACKAGE}.{name}" for name in height}, (
        "every module of the package stands on a floor"
    )
    upwards = [
        f"{module} -> {imported}"
        for module, imports in arrows.items()
        for imported in imports
        if (above := floor(imported)) is not None and (below := floor(module)) is not None and above > below
    ]
    assert upwards == []


def test_what_runs_in_a_child_process_is_imported_by_nobody(arrows: dict[str, set[str]]) -> None:
    started = {f"{PACKAGE}.cli.child_main", f"{PACKAGE}.node.__main__"}
    assert not started & set().union(*arrows.values())
