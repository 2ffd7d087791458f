"""Other people's suites and clients, run against us."""
