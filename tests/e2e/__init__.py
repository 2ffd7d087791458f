"""Whole stories, told by real processes."""
