"""Tests of what model servers report."""
