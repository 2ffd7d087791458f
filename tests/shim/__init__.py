"""The shim, tested with real files, real keys and real deaths."""
