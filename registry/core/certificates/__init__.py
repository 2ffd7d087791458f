"""X.509 certificates that name a signer, and who vouches for them."""
