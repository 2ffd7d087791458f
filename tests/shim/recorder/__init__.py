"""The journal and the batches made of it."""
