"""Where members of a round stand: of what is found out, the strongest stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.standing import Standing, Standings

found = st.lists(st.tuples(st.sampled_from("abc").map(PeerId), st.sampled_from(Standing)))


@given(found)
def test_each_member_stands_where_the_strongest_evidence_puts_it(found: list[tuple[PeerId, Standing]]) -> None:
    standings = Standings()
    for peer, standing in found:
        standings.note([peer], standing)
    assert standings.gone == {peer for peer, _ in found}
    for standing in Standing:
        strongest = {peer for peer in standings.gone if max(s for p, s in found if p == peer) == standing}
        assert standings.those(standing) == strongest


@given(found, found)
def test_in_which_order_it_is_found_out_does_not_matter(
    some: list[tuple[PeerId, Standing]], more: list[tuple[PeerId, Standing]]
) -> None:
    one, other = Standings(), Standings()
    for standings, order in ((one, [*some, *more]), (other, [*more, *some])):
        for peer, standing in order:
            standings.update({peer: standing})
    assert all(one.those(standing) == other.those(standing) for standing in Standing)
