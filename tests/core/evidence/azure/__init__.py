"""Tests of registry.core.evidence.azure."""
