"""Floor 5: what a person looks at while a swarm trains. Reads the stream of events, changes nothing."""
