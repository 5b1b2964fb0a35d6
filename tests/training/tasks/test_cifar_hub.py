"""The download: a real exchange with a small hub on this computer, interrupted, offline, damaged and repeated."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from gossiptrain.errors import DataCorruptError, DataMissingError
from gossiptrain.training.tasks.cifar_arrays import ImageArrays, checked_arrays
from gossiptrain.training.tasks.cifar_hub import HubSource, load_from_hub
from tests.training.tasks.cifar_samples import parquet_bytes, random_arrays

COUNT = 12
FILE = "/datasets/uoft-cs/cifar10/resolve/main/plain_text/train-00000-of-00001.parquet"


class Hub(ThreadingHTTPServer):
    """Serves one file as the hub does: with its SHA-256 as tag, and from any byte on."""

    def __init__(self, content: bytes, *, etag: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.content = content
        self.etag = etag or sha256(content).hexdigest()
        self.downloads: list[str | None] = []

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class HubHandler(BaseHTTPRequestHandler):
    """Answers HEAD and GET for the one file."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        """What the file is."""
        self._answer(0)

    def do_GET(self) -> None:
        """The file, or its end."""
        wanted = self.headers["Range"]
        self.server.downloads.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self._answer(start)
        self.wfile.write(self.server.content[start:])

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def _answer(self, start: int) -> None:
        size = len(self.server.content)
        self.send_response(206 if start else 200 if self.path == FILE else 404)
        self.send_header("ETag", f'"{self.server.etag}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(size - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()


@contextmanager
def hub_with(content: bytes, *, etag: str | None = None) -> Iterator[Hub]:
    """A running hub."""
    with Hub(content, etag=etag) as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture
def arrays() -> ImageArrays:
    return random_arrays(COUNT)


def source(tmp_path: Path, endpoint: str) -> HubSource:
    return HubSource(endpoint, hub_cache=tmp_path / "hub", train_samples=COUNT)


def assert_same(loaded: ImageArrays, arrays: ImageArrays) -> None:
    expected = checked_arrays(arrays.images, arrays.labels, source=Path("expected"))
    assert np.array_equal(loaded.images, expected.images)
    assert np.array_equal(loaded.labels, expected.labels)


def test_a_download_gives_the_arrays_and_is_kept(tmp_path: Path, arrays: ImageArrays) -> None:
    with hub_with(parquet_bytes(arrays)) as hub:
        for _ in range(2):
            assert_same(load_from_hub("train", cache=tmp_path, source=source(tmp_path, hub.endpoint)), arrays)
        assert hub.downloads == [None]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "train.npz"]


def test_an_interrupted_download_goes_on_where_it_stopped(tmp_path: Path, arrays: ImageArrays) -> None:
    content = parquet_bytes(arrays)
    with hub_with(content) as hub:
        (tmp_path / f"train-{hub.etag}.partial").write_bytes(content[:1000])
        assert_same(load_from_hub("train", cache=tmp_path, source=source(tmp_path, hub.endpoint)), arrays)
        assert hub.downloads == ["bytes=1000-"]


def test_a_complete_file_whose_conversion_was_interrupted_is_not_fetched_again(
    tmp_path: Path, arrays: ImageArrays
) -> None:
    content = parquet_bytes(arrays)
    with hub_with(content) as hub:
        (tmp_path / f"train-{hub.etag}.partial").write_bytes(content)
        assert_same(load_from_hub("train", cache=tmp_path, source=source(tmp_path, hub.endpoint)), arrays)
        assert hub.downloads == []


def test_peers_that_start_together_download_once(tmp_path: Path, arrays: ImageArrays) -> None:
    with hub_with(parquet_bytes(arrays)) as hub, ThreadPoolExecutor(4) as peers:
        here = source(tmp_path, hub.endpoint)
        for loaded in peers.map(lambda _: load_from_hub("train", cache=tmp_path, source=here), range(4)):
            assert_same(loaded, arrays)
        assert hub.downloads == [None]


def test_what_another_program_fetched_is_used_without_asking_anyone(tmp_path: Path, arrays: ImageArrays) -> None:
    stored = tmp_path / "hub" / "datasets--uoft-cs--cifar10"
    file = stored / "snapshots" / ("0" * 40) / "plain_text" / "train-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(parquet_bytes(arrays))
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("0" * 40)
    assert_same(load_from_hub("train", cache=tmp_path, source=source(tmp_path, "http://127.0.0.1:1")), arrays)
    assert file.exists()


def test_a_damaged_download_is_removed_and_named(tmp_path: Path, arrays: ImageArrays) -> None:
    with hub_with(parquet_bytes(arrays), etag="f" * 64) as hub, pytest.raises(DataCorruptError, match="SHA-256"):
        load_from_hub("train", cache=tmp_path, source=source(tmp_path, hub.endpoint))
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_offline_the_message_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError) as caught:
        load_from_hub("train", cache=tmp_path, source=source(tmp_path, "http://127.0.0.1:1"))
    for part in (str(tmp_path / "train.npz"), FILE, "offline", "cifar-10-python.tar.gz", "--data-dir"):
        assert part in str(caught.value)


def test_offline_by_choice_is_said_in_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataMissingError, match="offline"):
        load_from_hub("train", cache=tmp_path, source=source(tmp_path, "http://127.0.0.1:1"))


def test_a_hub_without_the_file_is_said_in_the_same_way(tmp_path: Path, arrays: ImageArrays) -> None:
    with hub_with(parquet_bytes(arrays)) as hub, pytest.raises(DataMissingError, match="404"):
        load_from_hub("test", cache=tmp_path, source=source(tmp_path, hub.endpoint))


@pytest.mark.parametrize("content", [b"PAR1 but not really", b""])
def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    with hub_with(content) as hub, pytest.raises(DataCorruptError, match="not a parquet file of images"):
        load_from_hub("train", cache=tmp_path, source=source(tmp_path, hub.endpoint))


def test_a_split_with_too_few_images_is_refused(tmp_path: Path) -> None:
    with (
        hub_with(parquet_bytes(random_arrays(COUNT - 1))) as hub,
        pytest.raises(DataCorruptError, match="holds 11 images, not 12"),
    ):
        load_from_hub("train", cache=tmp_path, source=source(tmp_path, hub.endpoint))


@pytest.mark.parametrize("keep_bytes", [0, 10, 2000])
def test_a_damaged_cache_is_named(tmp_path: Path, arrays: ImageArrays, keep_bytes: int) -> None:
    kept = tmp_path / "train.npz"
    with hub_with(parquet_bytes(arrays)) as hub:
        load_from_hub("train", cache=tmp_path, source=source(tmp_path, hub.endpoint))
    kept.write_bytes(kept.read_bytes()[:keep_bytes])
    with pytest.raises(DataCorruptError, match=r"train.npz is damaged[\s\S]*Delete it"):
        load_from_hub("train", cache=tmp_path, source=source(tmp_path, "http://127.0.0.1:1"))
