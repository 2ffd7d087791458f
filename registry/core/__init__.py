"""Bytes in; values, verdicts or errors out. No I/O, no clock."""
