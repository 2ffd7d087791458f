"""Tests of the capsule."""
