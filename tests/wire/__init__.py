"""Translations between messages and core values, there and back."""
