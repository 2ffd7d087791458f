"""Tests of registry.remote."""
