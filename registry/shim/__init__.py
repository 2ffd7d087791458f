"""The shim beside a model: turns each call into a durable, ordered, provable inference receipt.

It has no back door into the registry. What it knows of the registry it verified itself, and what
the registry has not acknowledged with a proof it keeps.
"""
