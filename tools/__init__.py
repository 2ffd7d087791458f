"""What developers and operators run."""
