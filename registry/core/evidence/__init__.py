"""RATS (RFC 9334): what a trusted execution environment says, and what we make of it.

Two questions are kept apart. *Examination* asks the cryptography: is this evidence what a genuine
device of this vendor signed, with everything valid at a stated time? It yields the claims, and one
result for each check of a published table. *Appraisal* asks a policy: are these claims what we
want? It yields the attestation result. The families know nothing of each other.
"""
