"""Use cases, each owning its transaction. No clock: time comes in as a parameter or a function."""
