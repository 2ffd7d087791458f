"""X.509 certificates that name a signer, and the one algorithm that their keys may have."""
