"""A network in memory with latency, loss, cuts, crashes and freezes, under virtual time."""
