"""`--page`: what belongs to it, and what is said."""

from __future__ import annotations

import urllib.request

import pytest

from gossiptrain.cli.paging import page_of, with_pages
from gossiptrain.errors import UsageError
from gossiptrain.monitor.page.picture import SwarmPicture
from tests.processes import free_port


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("train digits --page", "train digits --page auto"),
        ("train --page digits", "train --page auto digits"),
        ("train digits --page 8484 --batch 8", "train digits --page 8484 --batch 8"),
        ("demo --page --seconds 8", "demo --page auto --seconds 8"),
        ("watch --page 0.0.0.0:80 /ip4/1.2.3.4", "watch --page 0.0.0.0:80 /ip4/1.2.3.4"),
        ("watch --page /ip4/127.0.0.1/tcp/1", "watch --page auto /ip4/127.0.0.1/tcp/1"),
        ("watch --page gossip://join/x", "watch --page auto gossip://join/x"),
        ("train digits --page=8484", "train digits --page=8484"),
        ("train -- --page", "train -- --page"),
    ],
)
def test_only_a_place_belongs_to_the_flag(typed: str, read: str) -> None:
    assert with_pages(typed.split()) == read.split()


def test_the_page_is_there_while_it_lasts_and_its_address_is_said() -> None:
    with page_of(SwarmPicture(), str(free_port())) as notices:
        url = notices[0].message.split()[-1]
        with urllib.request.urlopen(url) as answer:
            assert answer.status == 200
        assert len(notices) == 1
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url)


def test_who_opens_it_to_others_is_warned() -> None:
    with page_of(SwarmPicture(), "0.0.0.0:0") as notices:
        assert [notice.level for notice in notices] == ["info", "warning"]


def test_without_the_flag_there_is_none_and_nonsense_is_refused() -> None:
    with page_of(SwarmPicture(), None) as notices:
        assert notices == ()
    with pytest.raises(UsageError), page_of(SwarmPicture(), "nonsense"):
        pass
