"""Four peers on one card learn Tiny Shakespeare with the model of nanoGPT, whose published run reaches 1.4697.

    .venv/bin/python -m benchmarks.gpu.shakespeare

nanoGPT (Karpathy, `config/train_shakespeare_char.py`): 6 layers, 6 heads, 384 wide, 256 characters of context, dropout
0.2, AdamW with 1e-3 down to 1e-4, 5,000 steps with 64 windows, and the lowest of the validation losses on the way. Here
four peers with 32 windows make 2,500 steps each, which is as many windows in all, and average by `step-mix`. The merged
model is what is judged: at the end all hold it, and on the way it is what a peer holds right after a round. Needs the
text in $GOSSIPTRAIN_DATA. Owns model, recipe and evaluation. Does not know how peers average.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.gpu.figures import Figure, Place, run_part
from benchmarks.speaking_process import SpeakingProcess, say
from gossiptrain import events, gossip
from gossiptrain.config import GossipSettings, NetworkSettings
from gossiptrain.training.compute import MixedPrecision
from gossiptrain.training.tasks.text_file import load_text

PUBLISHED_LOSS = 1.4697
LOCAL = NetworkSettings(host_maddrs=("/ip4/127.0.0.1/tcp/0",), preset="local")
WAIT_S = 270.0


@dataclass(frozen=True)
class Course:
    """What one peer does. judged_at: losses on validation text are taken so often on the way, by the first peer."""

    device: str
    number: int = 0
    peers: int = 4
    steps: int = 2500
    batch: int = 32
    layers: int = 6
    heads: int = 6
    width: int = 384
    context: int = 256
    every_steps: int = 25
    judged_at: int = 20
    judged_batches: int = 200
    addresses: tuple[str, ...] = ()

    def learning_rate(self, step: int) -> float:
        """Warm-up, then a cosine down to a tenth."""
        warm_up = max(1, self.steps // 50)
        if step < warm_up:
            return 1e-3 * (step + 1) / warm_up
        return 1e-4 + 9e-4 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (self.steps - warm_up)))


class Block(nn.Module):
    """One layer."""

    def __init__(self, course: Course) -> None:
        super().__init__()
        self.heads = course.heads
        width = course.width
        self.before_attention, self.before_perceptron = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.enter, self.leave = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.wide, self.narrow = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(0.2)

    def forward(self, features: Tensor) -> Tensor:
        queries, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.enter(self.before_attention(features)).chunk(3, dim=-1)
        )
        dropped = self.dropout.p if self.training else 0.0
        found = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True, dropout_p=dropped)
        features = features + self.dropout(self.leave(found.transpose(1, 2).flatten(-2)))
        inner = self.narrow(functional.gelu(self.wide(self.before_perceptron(features))))
        total: Tensor = features + self.dropout(inner)
        return total


class Model(nn.Module):
    """nanoGPT's, for characters that are numbered from 0; the output layer is the embedding."""

    def __init__(self, course: Course, vocabulary: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(vocabulary, course.width)
        self.positions = nn.Embedding(course.context, course.width)
        self.dropout = nn.Dropout(0.2)
        self.blocks = nn.Sequential(*(Block(course) for _ in range(course.layers)))
        self.last = nn.LayerNorm(course.width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                branch = name.endswith(("leave.weight", "narrow.weight"))
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * course.layers) if branch else 1.0))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, vocabulary] of the character behind each one."""
        places = self.positions.weight[: tokens.shape[1]]
        features = self.blocks(self.dropout(self.characters(tokens) + places))
        logits: Tensor = functional.linear(self.last(features), self.characters.weight)
        return logits


class Text:
    """Training and validation text on the device, as numbers of the characters that occur."""

    def __init__(self, device: torch.device, context: int) -> None:
        text = load_text(None)
        found = torch.from_numpy(np.unique(text.training))
        number = torch.zeros(256, dtype=torch.long)
        number[found.long()] = torch.arange(len(found))
        self.vocabulary = len(found)
        self.training, self.validation = (
            number[torch.from_numpy(part).long()].to(device) for part in (text.training, text.validation)
        )
        self._window = torch.arange(context + 1, device=device)

    def draw(self, text: Tensor, batch: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random windows and what comes next at each place of them."""
        starts = torch.randint(len(text) - len(self._window), (batch, 1), generator=random).to(text.device)
        windows = text[starts + self._window]
        return windows[:, :-1], windows[:, 1:]


class Learner:
    """One peer."""

    def __init__(self, course: Course) -> None:
        self.course = course
        device = torch.device(course.device)
        self.text = Text(device, course.context)
        torch.manual_seed(0)
        self.model = Model(course, self.text.vocabulary).to(device)
        torch.manual_seed(course.number + 1)
        self._random = torch.Generator().manual_seed(course.number)
        parameters = list(self.model.parameters())
        matrices, vectors = ([one for one in parameters if (one.dim() > 1) == many] for many in (True, False))
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
        self._precision = MixedPrecision(device, "auto")

    def step(self, number: int) -> None:
        """One step of the recipe."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.course.learning_rate(number)
        inputs, targets = self.text.draw(self.text.training, self.course.batch, self._random)
        loss = self._loss(inputs, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def judge(self) -> float:
        """Nats a character on validation text: always the same windows."""
        random = torch.Generator().manual_seed(7)
        self.model.eval()
        with torch.inference_mode():
            losses = [
                self._loss(*self.text.draw(self.text.validation, 64, random)) for _ in range(self.course.judged_batches)
            ]
        self.model.train()
        return float(torch.stack(losses).mean())

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        with self._precision.forward():
            return functional.cross_entropy(self.model(inputs).flatten(0, 1), targets.flatten())


def learn(course: Course) -> None:
    """The life of one peer: what it finds it says."""
    if course.device == "cpu":
        torch.set_num_threads(1)
    learner = Learner(course)
    committed = 0

    def note(event: events.Event) -> None:
        nonlocal committed
        committed += isinstance(event, events.RoundCommitted)

    judged_every = max(course.every_steps, course.steps // max(1, course.judged_at))
    with gossip(
        learner.model,
        learner.optimizer,
        run="gpu shakespeare",
        task="shakespeare",
        initial_peers=course.addresses,
        settings=GossipSettings(strategy="step-mix", every_steps=course.every_steps),
        network=LOCAL,
        take_state=False,
        on_event=note,
    ) as swarm:
        say("up", address=swarm.addresses[0])
        swarm.wait_for_peers(course.peers)
        judged, rounds = 0, 0
        for number in range(course.steps):
            learner.step(number)
            is_merged, rounds = committed > rounds, committed
            if course.number == 0 and is_merged and number - judged >= judged_every:
                judged = number
                say("judged", step=number + 1, loss=learner.judge())
    say("ended", loss=learner.judge() if course.number == 0 else None, rounds=committed)


def measure(place: Place) -> Iterator[Figure]:
    """Loss and time of all four."""
    course = Course(str(place.device))
    if place.is_small:
        course = replace(course, peers=2, steps=40, batch=4, layers=1, heads=2, width=32, context=32, every_steps=10)
        course = replace(course, judged_at=2, judged_batches=2)
    began_s = time.monotonic()
    with ExitStack() as stack:
        peers: list[SpeakingProcess] = []
        for number in range(course.peers):
            peers.append(SpeakingProcess(command_of(replace(course, number=number))))
            stack.callback(peers[-1].close)
            address = peers[0].wait_for("up", longest_s=WAIT_S)["address"]
            course = replace(course, addresses=(address,))
        ended = [peer.wait_for("ended", longest_s=WAIT_S) for peer in peers]
        losses = [word["loss"] for word in peers[0].said("judged")]
    last = ended[0]["loss"]
    best = min([*losses, last])
    judged = None if place.is_small else best <= PUBLISHED_LOSS
    yield Figure(f"lowest validation loss of {course.peers} peers, published {PUBLISHED_LOSS}", best, "nats", judged)
    yield Figure("validation loss of the last model", last, "nats")
    yield Figure("rounds", min(word["rounds"] for word in ended), "")
    yield Figure(f"{course.steps} steps of each peer", time.monotonic() - began_s, "s")


def command_of(course: Course) -> Sequence[str]:
    """The process of one peer."""
    return [sys.executable, "-m", "benchmarks.gpu.shakespeare", "--as-peer", json.dumps(asdict(course))]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-peer"]:
        learn(Course(**json.loads(sys.argv[2])))
    else:
        sys.exit(run_part(measure))
