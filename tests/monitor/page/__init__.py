"""The page of a swarm."""
