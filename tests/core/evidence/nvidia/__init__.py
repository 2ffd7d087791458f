"""Tests of registry.core.evidence.nvidia."""
