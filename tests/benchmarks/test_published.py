"""Runs beside published tables: who sees which samples, how files are read, and that a small run has its table."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.papers import fashion_rounds, mnist_rounds, nanogpt, niid_bench
from benchmarks.papers.federated import Federation, Seats, rounds_of
from benchmarks.papers.idx_images import read_idx_images
from numpy.typing import NDArray

from gossiptrain.config import GossipSettings
from gossiptrain.errors import DataCorruptError, DataMissingError
from gossiptrain.simulate import split
from gossiptrain.simulate.sources import TensorSource
from gossiptrain.training.tasks.digits import load_split
from gossiptrain.training.tasks.evaluation import TensorEvaluationSet

LABELS = np.arange(1000) % 10


def idx(values: NDArray[np.uint8]) -> bytes:
    head = bytes((0, 0, 8, values.ndim)) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return head + values.tobytes()


@pytest.fixture
def digits_as_mnist(tmp_path: Path) -> Path:
    """scikit-learn's digits, three times as large and with an edge, in the files of MNIST; one of them packed."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name, half in (("train", load_split().training), ("t10k", load_split().test)):
        images = (half.pixels.reshape(-1, 8, 8) * 255).astype(np.uint8).repeat(3, axis=1).repeat(3, axis=2)
        images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(half.labels.astype(np.uint8)))
    return folder


def test_images_and_labels_are_read_packed_or_not(digits_as_mnist: Path) -> None:
    found = read_idx_images(digits_as_mnist, "train")
    assert found.pixels.shape == (987, 784)
    assert (found.pixels.min(), found.pixels.max()) == (0, 1)
    assert np.array_equal(found.labels, load_split().training.labels)


def test_what_is_missing_cut_off_or_something_else_is_refused(digits_as_mnist: Path) -> None:
    labels = digits_as_mnist / "train-labels-idx1-ubyte"
    whole = labels.read_bytes()
    for damaged in (whole[:-1], whole[:6], b"", b"\x00\x00\x0d" + whole[3:], whole[:4] + b"\xff" * 4 + whole[8:]):
        labels.write_bytes(damaged)
        with pytest.raises(DataCorruptError, match="train-labels"):
            read_idx_images(digits_as_mnist, "train")
    labels.write_bytes(idx(np.zeros(5, np.uint8)))
    with pytest.raises(DataCorruptError, match="987 images"):
        read_idx_images(digits_as_mnist, "train")
    labels.unlink()
    with pytest.raises(DataMissingError, match="train-labels"):
        read_idx_images(digits_as_mnist, "train")


def test_two_shards_hold_few_digits_and_all_shards_hold_everything_once() -> None:
    shares = mnist_rounds.two_shards_each(LABELS, 20, seed=1)
    assert sorted(np.concatenate(shares)) == list(range(1000))
    assert {len(share) for share in shares} == {50}
    assert max(len(set(LABELS[share])) for share in shares) <= 3


def test_parties_of_two_classes_hold_two_and_all_of_them_everything_once() -> None:
    shares = niid_bench.two_classes_each(LABELS, 10, seed=1)
    assert sorted(np.concatenate(shares)) == list(range(1000))
    assert all(len(set(LABELS[share])) == 2 for share in shares)


@pytest.mark.parametrize("strategy", ["average", "step-mix"])
def test_peers_learn_digits_together_round_by_round(strategy: str, digits_as_mnist: Path) -> None:
    training, test = (read_idx_images(digits_as_mnist, half) for half in ("train", "t10k"))
    federation = Federation(
        task=mnist_rounds.TwoLayers(),
        source=TensorSource(torch.from_numpy(training.pixels), torch.from_numpy(training.labels)),
        held_out=TensorEvaluationSet(torch.from_numpy(test.pixels), torch.from_numpy(test.labels), batch=1000),
        shares=split.alike(training.labels, 4),
        gossip=GossipSettings.model_validate({"strategy": strategy}),
        every_steps=24,
        rounds=5,
        batch=10,
        learning_rate=0.1,
        seed=0,
    )
    found = list(rounds_of(federation, device=torch.device("cpu")))
    assert len(found) == 5
    assert found[-1].accuracy > 0.8 > found[0].accuracy
    assert found[-1].megabytes_per_peer == pytest.approx(5 * 1.5 * 4 * 199_210 / 1e6)


def test_rounds_to_a_goal_that_is_not_reached_are_never(digits_as_mnist: Path, tmp_path: Path) -> None:
    written = tmp_path / "out.json"
    arguments = ["--data-dir", str(digits_as_mnist), "--peers=4", "--rounds=1", "--only", "two digits"]
    mnist_rounds.main([*arguments, "--json", str(written)])
    figures = json.loads(written.read_text())["results"]
    assert [figure["ours"] for figure in figures] == [None] * len(mnist_rounds.COURSES)
    assert {figure["published"] for figure in figures} == {380}


def test_characters_are_told_beside_nanogpt(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("A rose is a rose is a rose.\n" * 400)
    written = tmp_path / "out.json"
    arguments = ["--model=tiny", "--peers=2", "--steps=4", "--every", "2", "--data-dir", str(tmp_path)]
    nanogpt.main([*arguments, "--only", "alone", "step-mix, as many samples in all", "--json", str(written)])
    figures = {(figure["row"], figure["column"]): figure for figure in json.loads(written.read_text())["results"]}
    assert figures["alone", "loss"]["published"] == 1.88
    assert 0 < figures["step-mix, as many samples in all, H = 2", "loss"]["ours"] < 6
    assert figures["step-mix, as many samples in all, H = 2", "MB sent"]["ours"] == pytest.approx(0.95, abs=0.01)


def test_the_network_of_the_ten_parties_has_the_published_size() -> None:
    assert sum(parameter.numel() for parameter in niid_bench.SmallNet().build_model(0).parameters()) == 62_006


def test_parties_are_told_beside_federated_averaging(real_cifar: Path, tmp_path: Path) -> None:
    written = tmp_path / "out.json"
    arguments = ["--data-dir", str(real_cifar), "--rounds=1", "--epochs=1", "--samples=2000", "--only", "two classes"]
    niid_bench.main([*arguments, "--json", str(written)])
    figures = json.loads(written.read_text())["results"]
    assert [figure["row"] for figure in figures] == list(niid_bench.COURSES)
    assert all(figure["published"] == 49.8 and 0 < figure["ours"] < 100 for figure in figures)


def test_mixtures_are_of_one_size_and_few_classes_where_the_concentration_is_small() -> None:
    shares = fashion_rounds.mixtures(LABELS, 20, concentration=0.1, seed=1)
    assert {len(share) for share in shares} == {50}
    assert len(np.unique(np.concatenate(shares))) > 500, "a class is given out once more only when all of it is"
    even = fashion_rounds.mixtures(LABELS, 20, concentration=1000.0, seed=1)
    fewest = [np.bincount(LABELS[own], minlength=10).min() for own in even]
    assert max(fewest) > 0
    assert np.mean([len(set(LABELS[share])) for share in shares]) < 6


def test_in_each_round_others_are_there_and_those_that_stay_keep_their_places() -> None:
    seats = Seats(10, 4, seed=0)
    seen = set(seats.peers)
    for _ in range(20):
        before = seats.peers
        came = seats.deal()
        assert len(set(seats.peers)) == 4
        assert came == len(set(seats.peers) - set(before))
        for place, peer in enumerate(before):
            assert peer not in seats.peers or seats.peers[place] == peer
        seen |= set(seats.peers)
    assert seen == set(range(10))


def test_garments_are_told_beside_federated_averaging_and_joiners_are_counted(
    digits_as_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "out.json"
    arguments = ["--data-dir", str(digits_as_mnist), "--peers=8", "--present=4", "--rounds=12", "--only"]
    fashion_rounds.main([*arguments, "Dirichlet 0.6", "--json", str(written)])
    figures = json.loads(written.read_text())["results"]
    assert [figure["row"] for figure in figures] == list(fashion_rounds.COURSES)
    assert all(figure["published"] == 86.84 for figure in figures)
    assert all(60 < figure["ours"] < 100 for figure in figures)
    sent = [
        float(line.split("%, ")[1].split()[0]) for line in capsys.readouterr().out.splitlines() if "MB sent" in line
    ]
    model_mb = 4 * 199_210 / 1e6
    assert sent[0] > 12 * 1.5 * model_mb, "and one model for each that has come"
    assert sent[2] > sent[0], "a joiner is given the momentum, too"
