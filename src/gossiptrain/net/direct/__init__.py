"""Direct connections: mutually authenticated TLS 1.3 between two nodes, for bulk bytes."""
