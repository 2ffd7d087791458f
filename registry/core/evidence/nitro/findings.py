"""What is checked of an AWS Nitro document, and what may be found."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

TABLE: Final[Mapping[str, str]] = {
    "N1": "one COSE_Sign1 message, ES384, nothing else",
    "N2": "the fields of an attestation document, their types and sizes",
    "N3": "the certificate chain to the AWS root",
    "N4": "every certificate valid when the document was signed, and at the moment that counts",
    "N5": "the signature of the document",
    "N6": "not a debug enclave",
    "N7": "the measurements that the policy expects",
    "N8": "fresh, and about what it was asked for",
    "N9": "no certificate revoked or distrusted",
}
"""Every check of the family, in order."""


class NitroFinding(StrEnum):
    """What may be found, beside what any family may find."""

    # N1, the message.
    DOCUMENT_SIZE = "DOCUMENT_SIZE"
    NOT_CBOR = "NOT_CBOR"
    DUPLICATE_KEY = "DUPLICATE_KEY"
    CHUNKED_STRING = "CHUNKED_STRING"
    TRAILING_BYTES = "TRAILING_BYTES"
    WRONG_TAG = "WRONG_TAG"
    NOT_SIGN1 = "NOT_SIGN1"
    NOT_SHORTEST = "NOT_SHORTEST"
    WRONG_ALGORITHM = "WRONG_ALGORITHM"
    PROTECTED_HEADER = "PROTECTED_HEADER"
    UNPROTECTED_HEADER = "UNPROTECTED_HEADER"
    SIGNATURE_SIZE = "SIGNATURE_SIZE"
    # N2, the document.
    MISSING_FIELD = "MISSING_FIELD"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    FIELD_TYPE = "FIELD_TYPE"
    FIELD_SIZE = "FIELD_SIZE"
    DIGEST_ALGORITHM = "DIGEST_ALGORITHM"
    TIMESTAMP = "TIMESTAMP"
    PCR_INDEX = "PCR_INDEX"
    PCR_SIZE = "PCR_SIZE"
    CERTIFICATE_COUNT = "CERTIFICATE_COUNT"
    # N3, the chain.
    CERTIFICATE = "CERTIFICATE"
    ROOT_NOT_FIRST = "ROOT_NOT_FIRST"
    CHAIN_TOO_SHORT = "CHAIN_TOO_SHORT"
    NOT_AN_AUTHORITY = "NOT_AN_AUTHORITY"
    PATH_LENGTH = "PATH_LENGTH"
    KEY_USAGE = "KEY_USAGE"
    KEY_KIND = "KEY_KIND"
    NOT_ISSUED = "NOT_ISSUED"
    # N4, the time.
    SIGNED_OUTSIDE_CHAIN = "SIGNED_OUTSIDE_CHAIN"
    # N5, the signature.
    BAD_SIGNATURE = "BAD_SIGNATURE"
    # N6, the measurements that are always there.
    PCR_MISSING = "PCR_MISSING"
    DEBUG = "DEBUG"
    # N8, freshness.
    SIGNED_LATER = "SIGNED_LATER"
    TOO_OLD = "TOO_OLD"
