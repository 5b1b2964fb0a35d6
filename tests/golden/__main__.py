"""`python -m tests.golden [--unreleased]`: renews the golden file of all messages.

Where messages have changed, the protocol version must have been raised since; `--unreleased` says that the version that
stands there has been raised already and was never given to anybody.
"""

from __future__ import annotations

import sys

from gossiptrain.core.fingerprint import PROTOCOL_VERSION
from tests.golden import GOLDEN, difference, read, renewed


def main() -> None:
    """Writes the file, or says why not."""
    if GOLDEN.exists() and "--unreleased" not in sys.argv:
        golden = read()
        if (changed := difference(golden)) and golden["version"] == PROTOCOL_VERSION:
            sys.exit(
                f"Changed: {', '.join(changed)}. Raise PROTOCOL_VERSION ({PROTOCOL_VERSION}) in core/fingerprint.py "
                "first, or say --unreleased where that has been done since the last release."
            )
    GOLDEN.write_text(renewed(), encoding="utf-8")


if __name__ == "__main__":
    main()
