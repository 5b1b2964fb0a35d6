"""What torch says of itself and of the accelerators: `python -m gossiptrain.doctor.torch_probe` prints it as JSON.

Owns these questions. Run as a program of its own, since a torch that does not fit the computer may end a process, or
hang. Does not know what follows.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any


def describe() -> dict[str, Any]:
    """`error`: why torch cannot be loaded; else `version`, `built_for_cuda`, `devices` (names), `mps` and `words`,
    what torch said meanwhile."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            import torch
        except (ImportError, OSError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return {
            "version": torch.__version__,
            "built_for_cuda": torch.version.cuda or torch.version.hip or "",
            "devices": [torch.cuda.get_device_name(number) for number in range(count)],
            "mps": torch.backends.mps.is_available(),
            "words": " ".join(str(word.message) for word in said),
        }


if __name__ == "__main__":
    os.nice(5)  # loading torch takes two seconds of a core, which whatever is asked of the network needs first
    sys.stdout.write(json.dumps(describe()))
