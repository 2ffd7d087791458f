"""Tests of registry.core.evidence.sev_snp."""
