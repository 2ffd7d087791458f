"""Load with failures: many clients, and everything around them killed at random."""
