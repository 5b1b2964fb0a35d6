"""Train one PyTorch model together on any number of ordinary computers, with no server."""
