"""What is said: one predicate type per file, all under one namespace."""

NAMESPACE = "https://provreg.dev/"
"""The prefix of every predicate type and schema that this project defines."""
