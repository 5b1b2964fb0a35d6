"""The page of a swarm: what it costs, how soon it shows things, and how it looks."""
