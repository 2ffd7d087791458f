"""Generated from proto/ by tools/generate_api.py."""
