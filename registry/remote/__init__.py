"""Whom we ask. Answers are bounded here, and verified in core."""
