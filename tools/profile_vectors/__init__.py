"""Test vectors of the content profiles: answers, the bytes that carry them, and their digests."""
