"""The book of addresses: bounded, all addresses of each peer, and when a lost peer is worth another try."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossiptrain.net.transport import PeerId
from gossiptrain.swarm.address_book import (
    KEPT_S,
    MAX_ADDRESSES,
    MAX_PEERS,
    UNPROVED_TRIES,
    AddressBook,
    named_addresses,
    pause_s,
    peer_of,
)

A, B = PeerId("a"), PeerId("b")
HOURS_S = 3600.0


def address(peer: str, host: str = "192.0.2.1") -> str:
    return f"/ip4/{host}/tcp/4011/p2p/{peer}"


def test_all_addresses_of_a_peer_are_kept_and_a_doubled_one_once() -> None:
    book = AddressBook()
    places = [address(A, f"192.0.2.{number}") for number in range(1, 4)]
    book.note(A, [*places, places[0]], now_s=0.0)
    assert book.addresses(A) == tuple(places)


def test_what_a_peer_says_of_itself_replaces_what_was_known() -> None:
    book = AddressBook()
    book.note(A, [address(A, "192.0.2.1")], now_s=0.0)
    book.note(A, [address(A, "192.0.2.2")], now_s=1.0)
    assert book.addresses(A) == (address(A, "192.0.2.2"),)


def test_the_address_that_a_person_gave_stays_beside_those_that_the_peer_says() -> None:
    book = AddressBook()
    book.note_named([address(A, "192.0.2.1")], now_s=0.0, initial=True)
    book.note(A, [address(A, "10.0.0.1")], now_s=1.0)
    assert book.addresses(A) == (address(A, "10.0.0.1"), address(A, "192.0.2.1"))


def test_only_the_lost_are_due_and_who_comes_back_had_been_lost() -> None:
    book = AddressBook()
    assert not book.note(A, [address(A)], now_s=0.0)
    assert book.due(now_s=100.0) == []
    book.lose(A, now_s=100.0)
    assert book.due(now_s=100.0 + pause_s(0)) == [A]
    assert book.note(A, [address(A)], now_s=102.0)
    assert book.due(now_s=200.0) == []


def test_who_said_goodbye_is_dropped_and_an_initial_peer_is_tried_again() -> None:
    book = AddressBook()
    book.note_named([address(B)], now_s=0.0, initial=True)
    for peer in (A, B):
        book.note(peer, [address(peer)], now_s=0.0)
        book.drop(peer, now_s=1.0)
    assert A not in book
    assert book.due(now_s=10.0) == [B]


def test_pauses_stay_below_fifteen_seconds_for_hours() -> None:
    passed_s, tries = 0.0, 0
    while passed_s < 12 * HOURS_S:
        tries += 1
        pause = pause_s(tries)
        assert pause <= (5.0 if passed_s < 570.0 else 15.0)
        passed_s += pause


def test_the_lost_are_given_up_after_a_day_and_initial_peers_never() -> None:
    book = AddressBook()
    book.note_named([address(B)], now_s=0.0, initial=True)
    for peer in (A, B):
        book.note(peer, [address(peer)], now_s=0.0)
        book.lose(peer, now_s=0.0)
    assert book.due(now_s=12 * HOURS_S) == [B, A] or book.due(now_s=12 * HOURS_S) == [A, B]
    assert book.due(now_s=KEPT_S + 1.0) == [B]


def test_who_was_only_heard_of_is_given_up_after_a_few_tries() -> None:
    book = AddressBook()
    book.note(A, [address(A)], now_s=0.0)
    book.lose(A, proved=False, now_s=0.0)
    now_s = 1.0
    while book.due(now_s):
        book.tried(A, pause_factor=1.0, now_s=now_s)
        now_s += pause_s(UNPROVED_TRIES)
    assert A not in book
    assert now_s < 60.0


@given(
    st.lists(
        st.tuples(st.sampled_from(["note", "name", "lose", "drop"]), st.integers(0, 2 * MAX_PEERS), st.integers(0, 40)),
        max_size=3 * MAX_PEERS,
    )
)
def test_the_book_is_bounded_whatever_comes(happenings: list[tuple[str, int, int]]) -> None:
    book = AddressBook()
    book.note_named([address("initial")], now_s=0.0, initial=True)
    for now_s, (what, number, places) in enumerate(happenings):
        peer = PeerId(f"p{number}")
        addresses = [address(peer, f"192.0.2.{place}") for place in range(places)]
        match what:
            case "note":
                book.note(peer, addresses, now_s=now_s)
            case "name":
                book.note_named(addresses, now_s=now_s, initial=False)
            case "lose":
                book.lose(peer, now_s=now_s)
            case "drop":
                book.drop(peer, now_s=now_s)
    known = book.peers()
    assert len(known) <= MAX_PEERS
    assert all(0 < len(one.addresses) <= MAX_ADDRESSES for one in known)
    assert "initial" in {one.peer for one in known}


def test_who_has_been_lost_for_the_longest_makes_room() -> None:
    book = AddressBook()
    book.note(A, [address(A)], now_s=0.0)
    book.note(B, [address(B)], now_s=0.0)
    book.lose(A, now_s=1.0)
    for number in range(MAX_PEERS - 1):
        book.note(PeerId(f"p{number}"), [address(f"p{number}")], now_s=2.0)
    assert A not in book
    assert B in book


def test_where_all_live_who_was_met_longest_ago_makes_room_but_no_initial_peer() -> None:
    book = AddressBook()
    book.note_named([address("initial")], now_s=0.0, initial=True)
    book.note(PeerId("initial"), [address("initial")], now_s=0.0)
    book.note(A, [address(A)], now_s=1.0)
    book.note(B, [address(B)], now_s=2.0)
    book.note(A, [address(A)], now_s=3.0)
    for number in range(MAX_PEERS - 2):
        book.note(PeerId(f"p{number}"), [address(f"p{number}")], now_s=4.0)
    assert B not in book
    assert A in book
    assert "initial" in book


def test_the_living_come_first_and_then_the_latest() -> None:
    book = AddressBook()
    for number, peer in enumerate("abc"):
        book.note(PeerId(peer), [address(peer)], now_s=number)
    book.lose(PeerId("c"), now_s=5.0)
    assert [known.peer for known in book.peers()] == ["b", "a", "c"]
    assert named_addresses(book.peers(), most=2) == (address("b"), address("a"))


def test_an_address_without_a_peer_is_passed_over() -> None:
    assert peer_of("/ip4/192.0.2.1/tcp/4011") is None
    assert peer_of(f"{address(A)}/") == A
    book = AddressBook()
    book.note_named(["/ip4/192.0.2.1/tcp/4011", "", "x"], now_s=0.0, initial=True)
    assert book.peers() == []
