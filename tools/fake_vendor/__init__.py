"""A fake vendor of trusted execution environments: real cryptography under roots of its own.

Every family can be minted at any time and with any defect. Nothing here is believed unless its
root is named explicitly, and every result then says so.
"""
