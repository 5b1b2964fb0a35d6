"""Floor 5: the commands. Parses, prints, exits; all work is done on the floors below."""
