"""Tests of statements in envelopes."""
