"""Tests of registry.core.evidence.nitro."""
