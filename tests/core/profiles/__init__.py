"""Tests of the output profiles."""
