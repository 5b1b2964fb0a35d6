"""Whether torch can be loaded, and uses the GPU that this computer has.

Owns what is concluded from torch's own words and from the devices that Linux lists. Does not know how torch is asked.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from gossiptrain.doctor.finding import Finding, fault, not_checked, ok, warning
from gossiptrain.doctor.torch_probe import describe

NVIDIA = "0x10de"
DISPLAYS = "0x03"
"""How the classes of devices begin that are displays or compute as such."""
_MAX_ANSWER_BYTES = 1 << 16
_INSTALL = "Install torch again, the build for this computer: https://pytorch.org/get-started/locally"


async def check_accelerator(device: str | None = None, *, system: Path = Path("/")) -> list[Finding]:
    """device: what the user wants to train on. system: where the folders `sys` and `proc` are."""
    found = describe() if "torch" in sys.modules else await _ask_torch()
    if found is None:
        return [fault("torch", "torch ends without a word when it is loaded.", remedy=_INSTALL)]
    return [judged(found, device or "auto", has_nvidia=has_nvidia(system), has_driver=_has_driver(system))]


def judged(found: dict[str, Any], device: str, *, has_nvidia: bool, has_driver: bool) -> Finding:
    """What torch's words mean on a computer with or without such a GPU and its driver."""
    if "error" in found:
        is_library = ".so" in found["error"] or "DLL" in found["error"]
        return fault(
            "torch",
            f"torch cannot be loaded: {found['error'][:200]}",
            cause="A library of the GPU or of the system that this build of torch needs is missing."
            if is_library
            else "torch is not installed, or not completely.",
            remedy=_INSTALL,
        )
    if found["devices"]:
        return ok("torch", f"torch {found['version']} trains on {', '.join(found['devices'])}.")
    if found["mps"]:
        return ok("torch", f"torch {found['version']} trains on Apple's GPU.")
    if not has_nvidia and not device.startswith("cuda"):
        return ok("torch", f"torch {found['version']}; there is no GPU, so the CPU trains.")
    tell = fault if device.startswith("cuda") else warning
    what = f"torch {found['version']} does not use the NVIDIA GPU of this computer."
    if not has_nvidia:
        what = f"--device {device} was asked for, and this computer has no NVIDIA GPU."
        return fault("torch", what, remedy="Leave --device out: auto takes what is there.")
    if not found["built_for_cuda"]:
        return tell("torch", what, cause="It is a build for CPUs alone.", remedy=_INSTALL)
    if not has_driver:
        cause = "The driver of the GPU is not loaded, or this container was not given the GPU."
        return tell("torch", what, cause=cause, remedy="Install the driver until `nvidia-smi` lists the GPU.")
    cause = found["words"][:300] or "The driver and this build of torch do not fit each other."
    return tell("torch", what, cause=cause, remedy="Update the driver, or install a torch for an older CUDA.")


def has_nvidia(system: Path) -> bool:
    """Whether the bus lists a display or an accelerator of NVIDIA, with a driver or without."""
    for device in (system / "sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
        except OSError:
            continue
        if vendor == NVIDIA and kind.startswith(DISPLAYS):
            return True
    return _has_driver(system)


def _has_driver(system: Path) -> bool:
    return (system / "proc/driver/nvidia/version").exists()


async def _ask_torch() -> dict[str, Any] | None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gossiptrain.doctor.torch_probe"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        answer, _ = await process.communicate()
        found = json.loads(answer[:_MAX_ANSWER_BYTES])
    except ValueError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return found if isinstance(found, dict) else None


def unfinished() -> list[Finding]:
    """What is said where torch has not been loaded in time."""
    return [
        not_checked(
            "torch", "torch was not loaded in time: a slow disk or a busy computer. --max-seconds 60 gives it more."
        )
    ]
