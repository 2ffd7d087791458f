"""Tests of what a shim keeps for itself alone."""
