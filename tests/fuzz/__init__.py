"""Fuzzing: bounded, and the same in every run."""
