"""Ways into a model, tested with real engines."""
