"""How long one round of averaging takes, here and in other systems: `python -m benchmarks.round`."""
