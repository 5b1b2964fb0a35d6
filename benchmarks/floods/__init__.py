"""What strangers who flood a peer cost it: the words of libp2p without its manners, the floods, and their measurement."""
