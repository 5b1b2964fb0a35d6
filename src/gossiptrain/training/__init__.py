"""Floor 4: `gossip()` for any PyTorch loop, the trainer of the command line, tasks and checkpoints."""
