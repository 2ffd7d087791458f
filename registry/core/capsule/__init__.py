"""Capsules: one output and everything needed to judge it offline, in one file."""
