"""What programs that set up firewalls answer, and what that means."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossiptrain.doctor.firewall import check_firewall

OPEN = "-P INPUT ACCEPT\n-P FORWARD DROP\n"
CLOSED = "-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n"
NFT_CLOSED = "table inet filter {\n chain input {\n  type filter hook input priority 0; policy drop;\n }\n}\n"
NFT_OPEN = NFT_CLOSED.replace("policy drop", "policy accept")


def program(folder: Path, name: str, answer: str) -> None:
    """A program of that name that prints this, whatever it is asked."""
    (folder / name).write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the only programs that are found, besides the shell's own."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "cat").symlink_to("/bin/cat")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return folder


@pytest.mark.parametrize(
    ("name", "answer", "verdict"),
    [
        ("iptables", OPEN, "ok"),
        ("iptables", CLOSED, "warning"),
        ("nft", NFT_OPEN, "ok"),
        ("nft", NFT_CLOSED, "warning"),
        ("firewall-cmd", "running", "warning"),
    ],
)
def test_rules_are_read_where_they_can_be(programs: Path, tmp_path: Path, name: str, answer: str, verdict: str) -> None:
    program(programs, name, answer)
    found = check_firewall(tmp_path)[0]
    assert found.verdict == verdict
    assert verdict == "ok" or "turns away whoever calls" in found.what


def test_ufw_says_in_a_file_whether_it_is_on(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "etc/ufw").mkdir(parents=True)
    (tmp_path / "etc/ufw/ufw.conf").write_text("ENABLED=yes\n")
    assert "ufw" in check_firewall(tmp_path)[0].what


def test_what_cannot_be_read_is_not_called_open(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_firewall(tmp_path)[0].verdict == "not checked"
    program(programs, "iptables", OPEN)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert check_firewall(tmp_path)[0].verdict == "not checked"
