"""Model files in a confined process, tested with files that lie."""
