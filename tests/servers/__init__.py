"""Real model servers behind the shim, and the clients that people have in front of it."""
