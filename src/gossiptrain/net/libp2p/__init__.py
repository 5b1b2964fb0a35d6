"""The real network: libp2p through hivemind's daemon, with hivemind's DHT as the directory."""
