"""Proofs of other systems, read and checked so that they outlive who issued them."""
