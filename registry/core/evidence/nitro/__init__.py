"""AWS Nitro Enclaves attestation documents: checks N1 to N9."""
