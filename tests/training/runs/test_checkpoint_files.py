"""The files of a checkpoint: neither writing nor reading them takes memory for a second copy of the tensors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MIB = 1 << 20
TENSORS = 16
TENSOR_MIB = 2
STATE_MIB = 2 * TENSORS * TENSOR_MIB
"""Of the model, and as much of the optimizer."""
MOST_BESIDE_MIB = STATE_MIB / 10 + TENSOR_MIB

SAVE_AND_LOAD = """
import re, sys
from pathlib import Path
import torch
from torch import nn
from gossiptrain.training.runs.checkpoint_state import RunState
from gossiptrain.training.runs.checkpoints import CheckpointWriter, load_checkpoint


def resident_kib(name):
    return int(re.search(rf"{name}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])


def save(folder, tensors, elements):
    model = nn.ParameterList([nn.Parameter(torch.ones(elements)) for _ in range(tensors)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model:
        optimizer.state[parameter]["momentum_buffer"] = torch.ones_like(parameter)
    state = RunState(task="task", fingerprint="fingerprint", step=1)
    return lambda: CheckpointWriter(folder).save(model, optimizer, state=state)


def peak_kib(work):
    Path("/proc/self/clear_refs").write_text("5")  # The peak is counted from here.
    before = resident_kib("VmRSS")
    result = work()
    return resident_kib("VmHWM") - before, result


torch.set_num_threads(1)
folder, tensors, elements = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
peak_kib(save(folder / "small", 1, 8))  # Whatever is imported or set up only once.
peak_kib(lambda: load_checkpoint(folder / "small"))
saving, _ = peak_kib(save(folder / "large", tensors, elements))
loading, checkpoint = peak_kib(lambda: load_checkpoint(folder / "large"))
sys.stdout.write(f"{saving} {loading}")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts the peak from where one likes")
def test_saving_and_loading_take_little_memory_beside_the_tensors_themselves(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAVE_AND_LOAD, str(tmp_path), str(TENSORS), str(TENSOR_MIB * MIB // 4)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    saving_mib, loading_mib = (int(kib) / 1024 for kib in ran.stdout.split())
    assert saving_mib <= MOST_BESIDE_MIB
    assert loading_mib <= STATE_MIB + MOST_BESIDE_MIB
