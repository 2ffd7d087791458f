"""AIR v1 receipts, read only: nothing here writes one."""
