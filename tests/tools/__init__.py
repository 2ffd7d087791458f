"""Tests of what the project is measured with."""
