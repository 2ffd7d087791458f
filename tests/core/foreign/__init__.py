"""Tests of proofs of other systems."""
