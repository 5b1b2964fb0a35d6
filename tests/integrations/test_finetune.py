"""The example that fine-tunes a language model: adapters alone travel, whatever the precision of the base."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.processes import Family, Peer, wait_until

PROGRAM = Path(__file__).parents[2] / "examples" / "finetune" / "train.py"
TEXT = "to be or not to be, that is the question. " * 40


def save_base(folder: Path) -> Path:
    """A language model of bytes as transformers loads it, without any training."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 2}
    config = LlamaConfig(vocab_size=len(alphabet), num_attention_heads=4, num_key_value_heads=4, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def tuned(family: Family, base: Path, text: Path, *arguments: str) -> Peer:
    """One peer of the example."""
    out = str(family.folder / f"adapters-{len(family.peers)}")
    small = ("--tokens", "16", "--batch", "2", "--every-steps", "5", "--rounds", "3", "--lr", "0.01")
    words = (str(PROGRAM), *arguments, "--model", str(base), "--text", str(text), "--out", out, *small)
    return family.start(
        *words, program=[sys.executable], environment={"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    )


def said(peer: Peer, pattern: str) -> str:
    found = re.search(pattern, peer.out, re.MULTILINE)
    return found.group(1) if found else ""


@contextmanager
def first_peer(family: Family, base: Path, text: Path) -> Iterator[tuple[Peer, str]]:
    """One that others can join, and its address."""
    peer = tuned(family, base, text)
    local = r"^address (/ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+)$"
    wait_until(lambda: bool(said(peer, local)) or peer.process.poll() is not None, "the first peer has an address")
    assert said(peer, local), peer.err
    yield peer, said(peer, local)


def test_a_base_in_float32_and_one_in_bfloat16_end_with_the_same_adapters(family: Family, text: Path) -> None:
    two_peers_end_with_the_same_adapters(family, text, dtype="bfloat16")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_base_in_float32_and_one_in_4_bits_end_with_the_same_adapters(family: Family, text: Path) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes, which makes the base of 4 bits, is not installed")
    two_peers_end_with_the_same_adapters(family, text, dtype="nf4")


def two_peers_end_with_the_same_adapters(family: Family, text: Path, *, dtype: str) -> None:
    """dtype: of the base of the second."""
    base = save_base(family.folder / "tiny-llama")
    with first_peer(family, base, text) as (first, address):
        second = tuned(family, base, text, address, "--dtype", dtype)
        for peer in (second, first):
            assert peer.wait(within_s=400) == 0, peer.err
    assert said(first, r"^digest (\w{16})$") == said(second, r"^digest (\w{16})$") != ""
    assert float(said(first, r"^([\d.]+)% of the model's values travel$")) < 1.0
    assert said(first, r"apart cost ([\d.]+)% of what they do$")
    assert (family.folder / "adapters-0" / "adapter_model.safetensors").exists()
