"""The transparency log: one specification per file."""
