"""The pure core, tested with bytes."""
