"""Model files as they describe themselves: read under limits, recorded, never trusted."""
