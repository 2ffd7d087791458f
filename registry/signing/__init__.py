"""What we sign with: statement keys (ECDSA P-256) and log keys (Ed25519)."""
