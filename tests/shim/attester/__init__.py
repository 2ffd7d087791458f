"""Tests of registry.shim.attester."""
