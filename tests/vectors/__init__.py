"""Published vectors: what anybody who implements a profile must come to."""
