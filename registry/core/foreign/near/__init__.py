"""Signatures of the NEAR AI and Phala lineage of attested model servers, and their reports."""
