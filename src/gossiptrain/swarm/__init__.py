"""Floor 2: what peers say to each other. Owns admission, membership, matchmaking, the round and state transfer.

Written against the interfaces of `gossiptrain.net` only, so the same code runs on libp2p and on the virtual network.
No wall clock, no module-level state, no randomness of its own; every task lives under the peer's one root task.
"""
