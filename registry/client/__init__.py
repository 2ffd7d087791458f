"""Asks a registry, and believes nothing that it cannot verify."""
