"""Fine-tune a language model together, with no server: only LoRA adapters travel.

    pip install 'gossiptrain[integrations]'
    python examples/finetune/train.py --model HuggingFaceTB/SmolLM2-135M --text mine.txt
    python examples/finetune/train.py --model HuggingFaceTB/SmolLM2-135M --text yours.txt ADDRESS

Each peer has texts of its own. The first prints its addresses; others on its computer are given one of them, and those
on other computers `--join LINK` with a link that `gossip invite --run finetune` has printed there. A peer may hold the
base model in another precision than the rest (`--dtype bfloat16`, or `--dtype nf4` for one of 4 bits by bitsandbytes):
all agree on its name, and its weights stay frozen.
`--model` may also be a folder. At the end all that end together hold the same adapters, saved in `--out`.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from gossiptrain import Gossip, events
from gossiptrain.integrations.transformers import GossipCallback


class Windows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """A text as overlapping windows of so many tokens."""

    def __init__(self, tokens: torch.Tensor, length: int) -> None:
        self.windows = tokens.unfold(0, length, max(1, length // 2))

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.windows[index], "labels": self.windows[index]}


class Stop(TrainerCallback):
    """Ends training after so many rounds; or after so many steps, where all others have left meanwhile."""

    def __init__(self, gossip: GossipCallback, *, rounds: int, steps: int) -> None:
        self.gossip, self.rounds, self.steps = gossip, rounds, steps

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        swarm = self.gossip.swarm
        if swarm is not None:
            was_left = swarm.rounds > 0 and swarm.is_alone and state.global_step >= self.steps
            control.should_training_stop = swarm.rounds >= self.rounds or was_left
        return control


def tell(event: events.Event) -> None:
    """What a person wants to see of it."""
    if isinstance(event, events.RoundCommitted):
        print(f"round {event.round} of {len(event.members)} peers, {event.bytes_sent / 1e6:.2f} MB sent", flush=True)
    elif isinstance(event, events.Notice):
        print(event.message, flush=True)


def tell_addresses(swarm: Gossip) -> None:
    """Others need one of these."""
    for address in swarm.addresses:
        print(f"address {address}", flush=True)


def base_model(name: str, dtype: str) -> Any:
    """The frozen weights, in 4 bits where `dtype` is nf4."""
    if dtype != "nf4":
        return AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
    four_bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    return AutoModelForCausalLM.from_pretrained(name, quantization_config=four_bits)


def main() -> None:
    """Reads the arguments, trains, saves the adapters."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("addresses", nargs="*", metavar="ADDRESS", help="of any peer that trains already")
    parser.add_argument("--join", metavar="LINK", help="of `gossip invite`, in place of an address; or @FILE")
    parser.add_argument("--model", required=True, help="name on the Hugging Face hub, or folder")
    parser.add_argument("--text", required=True, type=Path, help="file with this peer's texts")
    parser.add_argument("--dtype", default="float32", help="precision of the frozen weights (float32); or nf4")
    parser.add_argument("--rounds", type=int, default=50, help="after which this peer ends (50)")
    parser.add_argument("--every-steps", type=int, default=20, help="steps between two rounds (20)")
    parser.add_argument("--tokens", type=int, default=256, help="of one sample (256)")
    parser.add_argument("--batch", type=int, default=4, help="samples of one step (4)")
    parser.add_argument("--lr", type=float, default=2e-4, help="learning rate (2e-4)")
    parser.add_argument("--out", type=Path, default=Path("adapters"), help="folder for the adapters (adapters)")
    given = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(given.model)
    tokens = tokenizer(given.text.read_text(encoding="utf-8"), return_tensors="pt")["input_ids"][0]
    model = get_peft_model(base_model(given.model, given.dtype), LoraConfig(r=8, lora_alpha=16, task_type="CAUSAL_LM"))
    swarm = {"join": given.join} if given.join else {"run": "finetune", "initial_peers": given.addresses}
    callback = GossipCallback(
        **swarm,
        base=Path(given.model).name,
        every_steps=given.every_steps,
        on_event=tell,
        on_ready=tell_addresses,
    )
    arguments = TrainingArguments(
        output_dir=str(given.out),
        max_steps=1_000_000,
        per_device_train_batch_size=given.batch,
        learning_rate=given.lr,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=10,
        save_strategy="no",
        report_to="none",
    )
    data = Windows(tokens, given.tokens)
    stop = Stop(callback, rounds=given.rounds, steps=given.rounds * given.every_steps)
    trainer = Trainer(model=model, args=arguments, train_dataset=data, callbacks=[callback, stop])
    trainer.train()
    model.save_pretrained(given.out)

    trained = [parameter.detach() for parameter in model.parameters() if parameter.requires_grad]
    share = sum(map(torch.Tensor.numel, trained)) / sum(parameter.numel() for parameter in model.parameters())
    digest = hashlib.sha256(b"".join(parameter.cpu().numpy().tobytes() for parameter in trained)).hexdigest()[:16]
    print(f"{share:.2%} of the model's values travel")
    if callback.swarm is not None and callback.swarm.adapter_error is not None:
        print(
            f"averaging the two matrices of each adapter apart cost {callback.swarm.adapter_error:.2%} of what they do"
        )
    print(f"digest {digest}")


if __name__ == "__main__":
    main()
