"""What we sign with."""
