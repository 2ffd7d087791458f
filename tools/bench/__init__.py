"""One script per promise with a number; each prints its baseline from the same run."""
