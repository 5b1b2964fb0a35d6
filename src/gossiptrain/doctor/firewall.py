"""What of a firewall of this computer can be seen from within.

Owns the questions to the programs that people set one up with. Only a peer elsewhere can say what passes in truth. Does
not know routers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from gossiptrain.doctor.finding import Finding, not_checked, ok, warning

_ANSWER_S = 2.0
_CLOSED = re.compile(r"^-P INPUT (?:DROP|REJECT)|hook input [^}]*policy drop", re.MULTILINE | re.DOTALL)


def check_firewall(system: Path = Path("/")) -> list[Finding]:
    """system: where the folder `etc` is."""
    if _is_ufw_on(system):
        return [_closed("ufw", "sudo ufw allow 4011/tcp, and start peers with --host-maddr /ip4/0.0.0.0/tcp/4011")]
    if _answer("firewall-cmd", "--state").strip() == "running":
        return [_closed("firewalld", "sudo firewall-cmd --add-port=4011/tcp, and listen at that port")]
    tool = next((name for name in ("iptables", "nft") if shutil.which(name)), None)
    if tool is None or os.geteuid() != 0:
        why = "is not installed" if tool is None else "answers only to root"
        return [not_checked("firewall", f"The rules cannot be read: {tool or 'iptables or nft'} {why}.")]
    rules = _answer("iptables", "-S") if tool == "iptables" else _answer("nft", "list", "ruleset")
    if _CLOSED.search(rules):
        return [_closed(tool, "let TCP in at the port of the peer, and listen at a fixed one: --host-maddr ...")]
    return [ok("firewall", f"{tool} turns nothing away by default.")]


def _closed(tool: str, remedy: str) -> Finding:
    return warning(
        "firewall",
        f"{tool} turns away whoever calls this computer, unless a rule says otherwise.",
        cause="Others may not reach this peer; it can still call them.",
        remedy=f"Where no rule does: {remedy}",
    )


def _is_ufw_on(system: Path) -> bool:
    try:
        return "ENABLED=yes" in (system / "etc/ufw/ufw.conf").read_text(errors="replace")
    except OSError:
        return False


def _answer(*command: str) -> str:
    """What a program prints; nothing where it is not there, fails, or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_ANSWER_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
