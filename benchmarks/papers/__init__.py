"""Tables of published papers, computed again here with the package's own code where it has a part in them."""
