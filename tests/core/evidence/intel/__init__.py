"""Tests of registry.core.evidence.intel."""
