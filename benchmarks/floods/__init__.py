"""What strangers who flood a peer cost it: libp2p without its manners, the floods, and their measurement."""
