"""Proof that outlives its algorithms: timestamps over what was signed."""
