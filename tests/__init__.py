"""Tests of provreg: they mirror the package, and each one is a sentence."""
