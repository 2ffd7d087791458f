"""The registry over plain HTTP, for clients that we did not write."""
