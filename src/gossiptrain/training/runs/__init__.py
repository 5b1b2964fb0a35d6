"""What a run leaves on the disk: its folder, its events and its checkpoints."""
