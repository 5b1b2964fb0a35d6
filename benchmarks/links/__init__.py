"""Links as people have them, and how long rounds take over them: `python -m benchmarks.links`."""
