"""Tests of the HTTP face and of what it answers."""
