"""The page in headless Chromium, as a person sees it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from benchmarks.page.browser import VARIABLE, Browser, browser_program
from benchmarks.page.pictures import picture_of
from benchmarks.page.story import hostile

from gossiptrain.monitor.page.picture import SwarmPicture
from gossiptrain.monitor.page.place import LOOPBACK, Place
from gossiptrain.monitor.page.server import PageServer
from tests.monitor.stream import OTHER, OWN, round_of, started, step

ROWS = "document.querySelectorAll('#rows tr').length"
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = browser_program()
    if program is None:
        pytest.skip(f"there is no Chromium on this computer; {VARIABLE} names one that is elsewhere")
    with Browser(program) as started_browser:
        yield started_browser


def test_64_peers_are_all_there_on_a_screen_and_on_a_phone_and_nothing_is_cut_off(browser: Browser) -> None:
    server = PageServer(Place(LOOPBACK, (0,)), picture_of(64).snapshot)
    try:
        for width, dark in ((1280, True), (390, False)):
            browser.look(server.url, width=width, dark=dark)
            browser.until(f"{ROWS} === 64")
            assert browser.value(TOO_WIDE) is False
            assert browser.value("document.querySelectorAll('#strip .lost').length") == 2
            assert browser.value("document.querySelectorAll('#met text.lost').length") == 2
            assert browser.value("document.querySelectorAll('#loss path.curve').length") > 60
        assert browser.console == []
    finally:
        server.close()


def test_a_peer_that_is_killed_by_its_button_turns_red_and_what_peers_say_is_text(browser: Browser) -> None:
    picture = SwarmPicture("demo")
    for label, peer_id in (("a", OWN), ("b", OTHER)):
        picture.handle(started(peer_id=peer_id), label=label)
        picture.handle(step(3), label=label)
    picture.handle(round_of(1, OWN, OTHER), label="a")
    for event in hostile():
        picture.handle(event, label="c")

    def order(what: str, whom: str) -> bool:
        picture.killed(whom)
        return True

    browser.console.clear()
    server = PageServer(Place(LOOPBACK, (0,)), picture.snapshot, order=order, key="the-key")
    try:
        browser.look(server.url, width=1280)
        browser.until("document.querySelectorAll('button.kill').length === 3")
        assert browser.value("document.querySelectorAll('img').length") == 1, "the own picture alone"
        assert "onerror" in str(browser.value("document.getElementById('run').textContent"))
        browser.value(
            "[...document.querySelectorAll('tr')].find(row => row.textContent.includes('b …'))"
            ".querySelector('button.kill').click()"
        )
        browser.until("document.querySelectorAll('td.killed').length === 1")
        assert "onerror" in browser.value("document.title"), "as text, which was not run"
        assert browser.console == []
    finally:
        server.close()
    browser.until("document.getElementById('trouble').hidden === false")
    assert browser.value("document.getElementById('link').textContent") == "no answer"
