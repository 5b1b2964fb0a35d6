"""What torch's words mean, with and without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gossiptrain.doctor.accelerator import has_nvidia, judged

TORCH = {"version": "2.9", "built_for_cuda": "12.8", "devices": [], "mps": False, "words": ""}


@pytest.mark.parametrize(
    ("torch", "device", "nvidia", "driver", "verdict", "says"),
    [
        ({}, "auto", False, False, "ok", "the CPU trains"),
        ({"devices": ["NVIDIA H200"]}, "auto", True, True, "ok", "trains on NVIDIA H200"),
        ({"mps": True}, "auto", False, False, "ok", "Apple's GPU"),
        ({"built_for_cuda": ""}, "auto", True, True, "warning", "a build for CPUs alone"),
        ({"built_for_cuda": ""}, "cuda:1", True, True, "fault", "a build for CPUs alone"),
        ({}, "auto", True, False, "warning", "driver of the GPU is not loaded"),
        ({"words": "The NVIDIA driver is too old"}, "auto", True, True, "warning", "driver is too old"),
        ({}, "auto", True, True, "warning", "do not fit each other"),
        ({}, "cuda", False, False, "fault", "has no NVIDIA GPU"),
        ({"error": "OSError: libcudart.so.12: cannot open"}, "auto", True, True, "fault", "A library of the GPU"),
        ({"error": "ModuleNotFoundError: No module named 'torch'"}, "auto", True, True, "fault", "not installed"),
    ],
)
def test_each_case_has_its_words(
    torch: dict[str, Any], device: str, nvidia: bool, driver: bool, verdict: str, says: str
) -> None:
    found = judged({**TORCH, **torch}, device, has_nvidia=nvidia, has_driver=driver)
    assert found.verdict == verdict
    assert says in f"{found.what} {found.cause}"
    assert bool(found.remedy) == (verdict != "ok")


def test_a_gpu_without_a_driver_is_seen_on_the_bus(tmp_path: Path) -> None:
    assert not has_nvidia(tmp_path)
    for name, vendor, kind in (("0", "0x8086", "0x030000"), ("1", "0x10de", "0x040300"), ("2", "0x10de", "0x030200")):
        device = tmp_path / "sys/bus/pci/devices" / name
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
        assert has_nvidia(tmp_path) == (name == "2")
