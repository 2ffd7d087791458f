"""Intel SGX v3 and TDX v4, v5 quotes: checks I1 to I24."""
