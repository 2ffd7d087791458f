"""Evidence of this host's trusted execution environment, from whatever device it has."""
