"""One peer as a panel: what it does, how it fares, whom it knows.

Owns the look, and what is left out where the terminal is narrow or low; does not know how a terminal is driven.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gossiptrain.events import RoundCommitted, Started
from gossiptrain.monitor.event_text import Sentence
from gossiptrain.monitor.progress import KnownPeer, PeerProgress
from gossiptrain.monitor.words import counted, data_size, duration, number, percent, printable, short_peer, sparkline

# From which size on there is a frame, tables of peers and rounds, all their columns, and more lines of everything.
_FRAME_COLUMNS = 44
_TABLES_COLUMNS = 76
_ALL_COLUMNS = 100
_MAX_COLUMNS = 110
_TABLES_LINES = 20
_ROOMY_LINES = 30
KEYS = "Ctrl+C: merge with the others, save and end"
_LEVEL_STYLES = {"info": "", "good": "green", "warning": "yellow"}
_PEER_STYLES = {"here": "green", "left": "dim", "lost": "red"}


class PeerPanel:
    """A Rich renderable of the present state of `progress`, with the last of `messages` below."""

    def __init__(self, progress: PeerProgress, messages: Sequence[Sentence]) -> None:
        self._progress = progress
        self._messages = messages
        self.obeys_q = False
        """Whether the key does what Ctrl+C does."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, _MAX_COLUMNS)
        parts = list(self._parts(width, options.size.height))
        if width < _FRAME_COLUMNS:
            yield Group(*parts)
            return
        title = self._title(names_peer=not self._has_tables(width, options.size.height))
        yield Panel(Group(*parts), box=box.ROUNDED, title=title, title_align="left", width=width, border_style="blue")

    def _parts(self, width: int, height: int) -> Iterator[RenderableType]:
        progress = self._progress
        tables, roomy = self._has_tables(width, height), height >= _ROOMY_LINES
        if tables and progress.started is not None:
            yield from self._addresses(progress.started)
        yield self._steps(width)
        yield self._losses(width)
        yield self._swarm(width)
        if tables and (progress.known or progress.recent_rounds):
            yield Text()
            yield self._tables(width, rows=5 if roomy else 3)
        if tables and self._messages:
            yield Text()
        done = progress.state == "done"
        for message in list(self._messages)[-(4 if roomy else 3 if tables else 1) :]:
            # What stays on the screen at the end is whole.
            cut = not (roomy or (done and tables))
            yield Text(message.text, _LEVEL_STYLES[message.level], no_wrap=cut, overflow="ellipsis" if cut else "fold")
        if tables and not done:
            yield one_line(Text(f"q or {KEYS}" if self.obeys_q else KEYS, "dim"))

    @staticmethod
    def _has_tables(width: int, height: int) -> bool:
        return width >= _TABLES_COLUMNS and height >= _TABLES_LINES

    def _title(self, *, names_peer: bool) -> Text:
        """names_peer: where there is no room for its whole id below."""
        started = self._progress.started
        if started is None:
            return Text(" starting ", "bold")
        run, called = printable(started.run, 30), printable(started.called or "", 40)
        peer = f" · peer {short_peer(started.peer_id)}" if names_peer else ""
        if called.partition(" ")[0] == run:  # The run was given no name of its own.
            return Text.assemble((f" {called}", "bold"), f"{peer} ")
        task = "" if started.task == started.run else f"task {printable(started.task, 20)}"
        what = f" · {called or task}" if called or task else ""
        return Text.assemble((f" run {run}", "bold"), what, f"{peer} ")

    def _addresses(self, started: Started) -> Iterator[Text]:
        yield _labelled("peer", printable(started.peer_id))
        places = [printable(address.split("/p2p/", maxsplit=1)[0], 60) for address in started.addresses[:4]]
        yield _labelled("listens", "  ".join(places) or "nowhere")
        yield Text()

    def _steps(self, width: int) -> RenderableType:
        progress = self._progress
        if progress.state == "joining":
            return one_line(Text("getting ready to train", "yellow"))
        planned = progress.started.steps if progress.started is not None else None
        counter = f"step {progress.step or 0:,}" + (f" of {planned:,}" if planned else "")
        epoch = f"epoch {progress.latest.epoch:.2f}" if progress.latest is not None else ""
        share = progress.share_done
        if share is None or width < _FRAME_COLUMNS:
            return one_line(Text.assemble((counter, "bold"), "  ", epoch))
        row = Table.grid(padding=(0, 2))
        row.add_column(no_wrap=True)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True, justify="right")
        bar = ProgressBar(total=1.0, completed=share, complete_style="blue", finished_style="green")
        left = "done" if progress.state == "done" else f"{duration(progress.seconds_left)} left"
        row.add_row(Text(counter, "bold"), bar, Text(f"{100 * share:.0f} %  {left}  {epoch}"))
        row.expand = True
        return row

    def _losses(self, width: int) -> Group:
        progress = self._progress
        course = sparkline(progress.losses.values, width=max(0, min(30, width - 60)))
        value = f"{number(progress.loss, 3):<6}"  # Of one width, so that what follows stands still.
        figures = [Text.assemble("loss ", (value, "bold"), (f" {course}" if course else "", "blue"))]
        figures.append(Text.assemble("test accuracy ", (percent(progress.accuracy), "bold green")))
        if progress.merged is not None:
            figures.append(Text.assemble("merged ", (percent(progress.merged.accuracy), "bold green")))
        if progress.latest is not None:
            figures.append(Text(f"{number(progress.latest.samples_per_s, 3)} samples/s"))
        return _packed(figures, width - 4)

    def _swarm(self, width: int) -> Group:
        progress = self._progress
        figures = [Text(counted(progress.peers, "peer")), Text(counted(progress.rounds, "round"))]
        rate = "" if progress.bytes_per_s is None else f", {data_size(progress.bytes_per_s)}/s"
        figures.append(Text(f"{data_size(progress.bytes_sent)} sent{rate}"))
        # Of a peer that is alone it would be that of a meeting long ago.
        if progress.disagreement is not None and progress.peers > 1:
            course = sparkline(progress.disagreements.values, width=max(0, min(30, width - 62)), logarithmic=True)
            words = f"disagreement {percent(progress.disagreement)} "
            figures.append(Text.assemble(words, (course, "magenta")))
        if progress.node == "down":
            figures.insert(0, Text("network down", "bold red"))
        return _packed(figures, width - 4)

    def _tables(self, width: int, *, rows: int) -> Table:
        grid = Table.grid(padding=(0, 2))
        grid.add_row(self._peers(rows, last_met=width >= _ALL_COLUMNS), self._rounds(rows))
        return grid

    def _peers(self, rows: int, *, last_met: bool) -> Table:
        table = _table("peer", "state", "rounds", *(["link", "last met"] if last_met else []))
        known = sorted(self._progress.known.values(), key=lambda peer: (peer.state != "here", -(peer.last_met or 0)))
        for peer in known[:rows]:
            state = Text(peer.state, _PEER_STYLES[peer.state])
            cells = [Text(short_peer(peer.peer_id)), state, Text(f"{peer.rounds:,}")]
            cells += [Text(printable(peer.path, 8)), Text(self._last_met(peer))]
            table.add_row(*cells[: len(table.columns)])
        if len(known) > rows:
            table.add_row(Text(f"+{len(known) - rows} more", "dim"))
        return table

    def _last_met(self, peer: KnownPeer) -> str:
        if peer.last_met is None or self._progress.time is None:
            return "not yet"
        seconds = self._progress.time - peer.last_met
        return f"{duration(seconds)} ago" if seconds >= 1 else "just now"

    def _rounds(self, rows: int) -> Table:
        table = _table("round", "peers", "time", "sent", "disagreement")
        for met in list(self._progress.recent_rounds)[-rows:]:
            table.add_row(*_round_cells(met))
        return table


def _round_cells(met: RoundCommitted) -> tuple[str, ...]:
    name = "final" if met.final else f"{met.round:,}"
    sent, disagreement = data_size(met.bytes_sent), percent(met.disagreement)
    return name, str(len(met.members)), duration(met.seconds), sent, disagreement


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(name, no_wrap=True, justify="left" if name in ("peer", "state") else "right")
    return table


def _labelled(label: str, text: str) -> Text:
    return one_line(Text.assemble((f"{label:<9}", "dim"), text))


def _packed(figures: Sequence[Text], width: int) -> Group:
    """As many figures on each line as fit, so that a narrow terminal loses none of them."""
    lines: list[Text] = []
    for figure in figures:
        if lines and lines[-1].cell_len + 3 + figure.cell_len <= width:
            lines[-1].append("   ").append_text(figure)
        else:
            lines.append(figure.copy())
    return Group(*(one_line(line) for line in lines))


def one_line(text: Text) -> Text:
    """Exactly one line: cut off where it does not fit."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
