"""Floor 3: the process beside the trainer. Owns its life, its supervision and the memory both processes share."""
