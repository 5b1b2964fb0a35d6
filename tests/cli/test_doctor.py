"""`gossip doctor`: what a person sees, and what a program reads."""

from __future__ import annotations

import io
import json

from rich.console import Console

from gossiptrain.cli.doctor import WIDTH, as_json, show, summary
from gossiptrain.doctor.finding import Finding, fault, not_checked, ok, warning
from tests.doctor.stage import ID
from tests.processes import Command

PEER = f"/ip4/203.0.113.7/tcp/4011/p2p/{ID}"
LOCAL = ("--host-maddr", "/ip4/127.0.0.1/tcp/0")
FINE = ok("memory", "24.0 GB of memory are free.")
LATE = fault("ports", "Port 4011 is in use, " * 6, cause="Another program has it.", remedy="Stop it. " * 12)
OFF = warning("DNS", "Names are not resolved.", cause="No name server answers.", remedy="Use numbers.")
AWAY = Finding("TCP", "fault", "No answer.", "A firewall.", f"Use {PEER}", peer=PEER)


def shown(*findings: Finding) -> str:
    out = io.StringIO()
    show(findings, Console(file=out, highlight=False, soft_wrap=True))
    return out.getvalue()


def test_every_line_fits_into_eighty_columns_but_for_addresses() -> None:
    text = shown(FINE, LATE, OFF, not_checked("firewall", "The rules cannot be read: " * 5), AWAY)
    assert all(len(line) <= WIDTH for line in text.splitlines() if PEER not in line)
    assert PEER in text, "an address is whole, so that it can be copied"


def test_findings_stand_under_what_they_are_about_with_cause_and_remedy() -> None:
    lines = [line.strip() for line in shown(OFF, AWAY).splitlines()]
    assert lines[0] == "This computer"
    assert lines[1].startswith("warning  DNS ")
    assert lines[2:4] == ["Why: No name server answers.", "To do: Use numbers."]
    assert f"The peer at {PEER}" in lines
    assert lines[-1] == "1 fault, 1 warning. Begin with the first fault: TCP."


def test_without_a_peer_it_is_said_who_can_tell_more() -> None:
    assert "gossip doctor ADDRESS" in shown(FINE)
    assert "gossip doctor ADDRESS" not in shown(FINE, AWAY)


def test_the_last_line_says_how_bad_it_is() -> None:
    assert summary([FINE]) == "Nothing is amiss."
    assert summary([FINE, OFF, OFF]) == "2 warnings; nothing keeps a peer from taking part."


def test_programs_read_the_same() -> None:
    told = json.loads(as_json([FINE, AWAY, OFF]))
    assert (told["faults"], told["warnings"]) == (1, 1)
    assert [Finding(**finding) for finding in told["findings"]] == [FINE, AWAY, OFF]


def test_the_command_ends_with_one_where_it_finds_a_fault(gossip: Command) -> None:
    well, ill = gossip("doctor", *LOCAL), gossip("doctor", *LOCAL, "/ip4/127.0.0.1/tcp/4011")
    assert (well.code, ill.code) == (0, 1)
    assert "does not say which peer lives there" in " ".join(ill.out.split())


def test_an_address_may_be_given_as_to_a_peer(gossip: Command) -> None:
    ended = gossip("doctor", *LOCAL, "--json", "--initial-peer", PEER.rpartition("/p2p/")[0])
    assert json.loads(ended.out)["findings"][-1]["peer"] == PEER.rpartition("/p2p/")[0]


def test_a_task_that_does_not_exist_is_a_usage_error(gossip: Command) -> None:
    ended = gossip("doctor", "--task", "chess")
    assert ended.code == 2
    assert "digits, cifar10" in ended.err
