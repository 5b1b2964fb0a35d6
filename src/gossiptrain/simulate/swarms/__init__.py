"""Whole simulated swarms: the protocol as it is, on a network in memory, under virtual time, with faults from a seed.

running.py       the way in: one run from settings to result     settings.py, results.py
plan.py          the faults of a run, drawn from its seed        afflictions.py: what each of them does
world.py         all lives, and the course of a run              peers.py: one life; liar.py, extremes.py: who lies
network.py       how links carry while faults go on              invariants.py: what must hold
sometimes.py     what a run ought to have exercised              seeds.py: many runs; shrink.py: the fewest faults
picture.py       one run, drawn
"""
