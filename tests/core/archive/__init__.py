"""Tests of registry.core.archive."""
