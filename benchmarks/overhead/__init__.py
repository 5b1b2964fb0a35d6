"""What gossiping costs training: `python -m benchmarks.overhead`."""
