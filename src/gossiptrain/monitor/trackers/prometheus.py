"""An address at which Prometheus finds the present figures of a peer.

Owns the server and the names: `train/loss` is `gossip_train_loss`, and totals end in `_total`.
"""

from __future__ import annotations

from typing import Any

from gossiptrain.errors import PortInUseError, UsageError
from gossiptrain.events import Event, Started
from gossiptrain.monitor.page.place import host_and_port
from gossiptrain.monitor.trackers.figures import TOTALS, Figures
from gossiptrain.monitor.trackers.tracker import needed


class PrometheusTracker:
    """Serves figures over HTTP until it is closed."""

    name = "Prometheus"

    def __init__(self, place: str) -> None:
        """place: `PORT`, for this computer alone, or `HOST:PORT`. Raises UsageError, PortInUseError."""
        client = check()
        host, port = parse_place(place)
        self._client = client
        self._registry = client.CollectorRegistry()
        self._figures = Figures()
        self._gauges: dict[str, Any] = {}
        self._totals: dict[str, float] = {}
        try:
            self._server, self._thread = client.start_http_server(port, addr=host, registry=self._registry)
        except OSError as error:
            raise PortInUseError(
                f"The figures for Prometheus cannot be served at {host}:{port}: {error.strerror or error}.",
                remedy="Choose another port with --prometheus.",
            ) from error

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def handle(self, event: Event) -> None:
        """See `Tracker`."""
        if isinstance(event, Started):
            about = {"run": event.run, "task": event.task, "peer": event.peer_id}
            self._of("peer", self._client.Info, "Which peer this is").info(about)
        figures = self._figures.take(event)
        for name, value in {**figures, "train/step": float(self._figures.step)}.items():
            metric = name.replace("/", "_")
            if name in TOTALS:
                self._of(metric, self._client.Counter, name).inc(max(0.0, value - self._totals.get(name, 0.0)))
                self._totals[name] = max(value, self._totals.get(name, 0.0))
            else:
                self._of(metric, self._client.Gauge, name).set(value)

    def _of(self, name: str, kind: Any, said: str) -> Any:
        if name not in self._gauges:
            self._gauges[name] = kind(f"gossip_{name}", said, registry=self._registry)
        return self._gauges[name]

    def close(self) -> None:
        """See `Tracker`."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def parse_place(place: str) -> tuple[str, int]:
    """Host and port. Raises UsageError."""
    found = host_and_port(place)
    if found is None:
        raise UsageError(
            f"--prometheus takes a port, or HOST:PORT, not {place!r}.", remedy="For example --prometheus 9464."
        )
    return found


def check() -> Any:
    """The package. Raises UsageError where it is missing."""
    return needed("prometheus_client", flag="--prometheus", extra="prometheus")
