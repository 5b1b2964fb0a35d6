"""How fast the laboratory is: `python -m benchmarks.laboratory`."""
