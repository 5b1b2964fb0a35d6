"""The model in this process: which tensors are averaged, and the rules by which a round moves them."""
