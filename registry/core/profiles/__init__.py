"""Profiles: the named rules from an output to the bytes whose digest names its content.

The same answer has the same content digest on every transport. A profile's name is inside the
hashed bytes, so digests under two profiles never meet.
"""
