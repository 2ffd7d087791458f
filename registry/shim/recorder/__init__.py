"""What happened, in order: a journal on this host's disk, and the signed batches made of it."""
