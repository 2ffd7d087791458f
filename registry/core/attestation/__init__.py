"""In-toto statements in DSSE envelopes: what was said, and who signed it."""
