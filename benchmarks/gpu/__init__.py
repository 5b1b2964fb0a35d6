"""What runs only where there is a GPU, in one go of ten minutes at most: `python -m benchmarks.gpu`."""
