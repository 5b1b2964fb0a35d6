"""A page on which a person watches a swarm: what is shown, the server that serves it, and the page itself."""
