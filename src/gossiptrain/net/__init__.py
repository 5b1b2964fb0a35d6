"""Floor 1: how bytes travel. Owns transports, streams, addresses and identities; knows nothing of models or rounds."""
