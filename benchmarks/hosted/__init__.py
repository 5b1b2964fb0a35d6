"""Trainers of others in a swarm: whether four peers with a quarter of the data each learn as well as one with all."""
