"""AMD SEV-SNP reports v2 to v5 with VCEK or VLEK: checks S1 to S14, S16."""
