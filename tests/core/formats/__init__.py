"""Model files as they describe themselves, tested with files that lie."""
