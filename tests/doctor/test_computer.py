"""Memory within limits, and clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gossiptrain.doctor.computer import check_clock, check_memory


def system(folder: Path, *, free_kib: int = 1 << 30, groups: str = "", **files: str) -> Path:
    """A folder that stands for `/`. files: by their names below sys/fs/cgroup, slashes as double underscores."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:    {free_kib} kB\n")
    (folder / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = folder / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@pytest.mark.parametrize(("free_kib", "verdict"), [(500_000, "fault"), (1_500_000, "warning"), (8_000_000, "ok")])
def test_what_the_computer_has_left_decides(tmp_path: Path, free_kib: int, verdict: str) -> None:
    assert check_memory(system(tmp_path, free_kib=free_kib))[0].verdict == verdict


def test_a_container_has_what_its_group_leaves(tmp_path: Path) -> None:
    root = system(
        tmp_path,
        groups="0::/box\n",
        box__memory_dot_max="2000000000",
        box__memory_dot_current="1900000000",
        box__memory_dot_stat="inactive_file 300000000\nanon 1",
    )
    found = check_memory(root)[0]
    assert found.verdict == "fault"
    assert "Only 400 MB of memory are free" in found.what


def test_so_it_is_with_the_first_version_of_groups(tmp_path: Path) -> None:
    root = system(
        tmp_path,
        groups="7:cpu,cpuacct:/\n5:memory:/box\n",
        memory__box__memory_dot_limit_in_bytes="800000000",
        memory__box__memory_dot_usage_in_bytes="100000000",
        memory__box__memory_dot_stat="total_inactive_file 0",
    )
    assert "700 MB" in check_memory(root)[0].what


def test_a_group_without_a_limit_limits_nothing(tmp_path: Path) -> None:
    root = system(
        tmp_path, groups="0::/\n", memory_dot_max="max", memory_dot_current="5", memory_dot_stat="inactive_file 0"
    )
    assert check_memory(root)[0].verdict == "ok"


def test_where_nothing_can_be_read_nothing_is_said_against_it(tmp_path: Path) -> None:
    assert check_memory(tmp_path)[0].verdict == "ok"


def test_a_clock_can_be_too_early_and_is_asked_of_others_otherwise() -> None:
    assert check_clock(datetime(2011, 1, 1, tzinfo=UTC))[0].verdict == "fault"
    assert check_clock(datetime(2027, 1, 1, tzinfo=UTC))[0].verdict == "ok"
