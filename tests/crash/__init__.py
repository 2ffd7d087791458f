"""Crash tests: whatever dies, and wherever, what was acknowledged is still there."""
