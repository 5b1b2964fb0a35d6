"""CIFAR-10 downloaded from the Hugging Face hub: the parquet files of the data set `uoft-cs/cifar10`.

Owns the download, which goes on where it was interrupted, its check, and the arrays that are kept in the cache
afterwards. Peers on one computer that start together download once.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers
from PIL import Image

from gossiptrain.errors import DataCorruptError, DataMissingError
from gossiptrain.training.tasks.cifar_arrays import ImageArrays, Split, checked_arrays
from gossiptrain.training.tasks.cifar_files import ARCHIVE_URL

_logger = logging.getLogger("gossiptrain.training")

REPOSITORY = "uoft-cs/cifar10"


@dataclass(frozen=True)
class HubSource:
    """Where the parquet files are, and what they hold."""

    endpoint: str | None = None
    """Address of the hub; None for the public one, or the one that HF_ENDPOINT names."""
    hub_cache: Path | None = None
    """Where huggingface_hub keeps what other programs fetched; None for its usual place."""
    train_samples: int = 50_000
    test_samples: int = 10_000

    def samples(self, split: Split) -> int:
        """How many images the split holds."""
        return self.train_samples if split == "train" else self.test_samples


def load_from_hub(split: Split, *, cache: Path, source: HubSource | None = None) -> ImageArrays:
    """One split, from `cache` where it is there, else from the hub and into `cache`.

    Raises DataMissingError where the hub cannot be reached, DataCorruptError where what came or was kept is not right.
    """
    source = source or HubSource()
    kept = cache / f"{split}.npz"
    if not kept.exists():
        with _alone_in(cache):
            if not kept.exists():  # another process may have been faster
                parquet = _already_in_hub_cache(split, source.hub_cache) or _download(split, cache=cache, source=source)
                _keep(_read_parquet(parquet, source.samples(split)), kept)
                if parquet.parent == cache:
                    parquet.unlink()
    return _read_kept(kept)


def _file_on_hub(split: Split) -> str:
    return f"plain_text/{split}-00000-of-00001.parquet"


def _already_in_hub_cache(split: Split, hub_cache: Path | None) -> Path | None:
    """The file that another program, `hf download` for example, has fetched for this user."""
    found = try_to_load_from_cache(REPOSITORY, _file_on_hub(split), cache_dir=hub_cache, repo_type="dataset")
    return Path(found) if isinstance(found, str) else None


def _download(split: Split, *, cache: Path, source: HubSource) -> Path:
    """Fetches the parquet file into `cache`, continuing behind the bytes of an earlier try."""
    url = hf_hub_url(REPOSITORY, _file_on_hub(split), repo_type="dataset", endpoint=source.endpoint)
    try:
        meta = get_hf_file_metadata(url, endpoint=source.endpoint)
        # The name holds the version, so bytes of two versions of the file never mix.
        partial = cache / f"{split}-{meta.etag}.partial"
        present_bytes = partial.stat().st_size if partial.exists() else 0
        _logger.info(
            "downloading CIFAR-10 (%s, %s bytes, %s already here) from %s", split, meta.size, present_bytes, url
        )
        with partial.open("ab") as file:
            http_get(
                meta.location,
                file,
                resume_size=present_bytes,
                headers=build_hf_headers(),
                expected_size=meta.size,
                displayed_filename=f"CIFAR-10 {split}",
            )
    except (OSError, HTTPError) as error:
        raise DataMissingError(
            f"CIFAR-10 is not on this computer, and downloading it failed: {error}",
            cause=f"Looked for {cache / f'{split}.npz'}, then asked {url}. Is this computer offline?",
            remedy=f"Try again: the download goes on where it stopped. Or unpack {ARCHIVE_URL} anywhere and name that "
            "folder with --data-dir or GOSSIPTRAIN_DATA.",
        ) from error
    _check_digest(partial, meta.etag)
    return partial.rename(partial.with_suffix(".parquet"))


def _check_digest(path: Path, etag: str | None) -> None:
    """The hub's tag of a large file is its SHA-256; tags of another form say nothing about the content."""
    if etag is None or len(etag) != 64:
        return
    with path.open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    if found != etag:
        path.unlink()
        raise DataCorruptError(
            f"The downloaded file {path} is not the published one: its SHA-256 is {found}, not {etag}.",
            remedy="It was removed. Try again.",
        )


def _read_parquet(path: Path, samples: int) -> ImageArrays:
    """Decodes the PNG images of the parquet file."""
    try:
        table = pyarrow.parquet.read_table(path, columns=["img", "label"])
        encoded = table.column("img").combine_chunks().field("bytes").to_pylist()
        images = np.stack([np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in encoded])
        labels = np.asarray(table.column("label").to_pylist(), dtype=np.int64)
    except (pyarrow.ArrowException, OSError, SyntaxError, ValueError, TypeError, KeyError) as error:
        raise DataCorruptError(
            f"{path} is not a parquet file of images: {error}", remedy="Delete it; the next start downloads it again."
        ) from error
    if len(labels) != samples:
        raise DataCorruptError(f"{path} holds {len(labels)} images, not {samples}.", remedy="Delete it and try again.")
    return checked_arrays(images, labels, source=path)


def _keep(arrays: ImageArrays, path: Path) -> None:
    """Writes the arrays whole or not at all."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, images=arrays.images, labels=arrays.labels)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataMissingError(
            f"CIFAR-10 cannot be kept in {path}: {error}", remedy="Make room there, or name a folder with --data-dir."
        ) from error


def _read_kept(path: Path) -> ImageArrays:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return ImageArrays(images=kept["images"], labels=kept["labels"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataCorruptError(
            f"{path} is damaged: {error}.", remedy="Delete it; the next start makes it again."
        ) from error


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Only one process at a time is in the body, for this folder; the lock goes with the process, however it ends."""
    with (folder / "lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
