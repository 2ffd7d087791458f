"""Tests of registry.core.evidence."""
