"""Tests of the house itself: its walls, its names, its generated code."""
