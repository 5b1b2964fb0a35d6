"""How fast bytes come to a peer in its rounds."""

from __future__ import annotations

from gossiptrain.swarm.own_line import REMEMBERED_EXCHANGES, OwnLine


def test_nothing_is_known_before_the_first_exchange() -> None:
    line = OwnLine()
    assert line.bytes_per_s is None
    line.note(0, 1.0)
    line.note(1000, 0.0)
    assert line.bytes_per_s is None, "exchanges in which nothing came say nothing"


def test_the_fastest_of_the_last_exchanges_counts() -> None:
    line = OwnLine()
    line.note(8_000, 1.0)
    line.note(1_000, 1.0)
    assert line.bytes_per_s == 8_000, "one that waited for a slow member does not make the line a slow one"
    for _ in range(REMEMBERED_EXCHANGES):
        line.note(2_000, 1.0)
    assert line.bytes_per_s == 2_000, "and a line that has become slow is known to be so soon"
