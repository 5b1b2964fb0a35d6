"""A swarm of real `gossip train` processes in which faults happen for as long as one likes: `make soak`."""
