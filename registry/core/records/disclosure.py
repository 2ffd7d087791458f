"""A disclosure: some private content of one inference receipt, in clear, with what proves it.

Whoever ran the shim makes it; whoever has the receipt, with its proof in the log, checks it, and
needs nobody for that.
"""

import hmac
from typing import Annotated, Final, Literal

import msgspec

from registry.core.digest import sha256
from registry.core.encoding import Hex32, Value
from registry.core.records.field_commitments import MAX_FIELDS, DisclosedField
from registry.core.records.inference import Completion
from registry.errors import Reason, VerificationError

SCHEMA: Final = "disclosure/v1"
"""Names the form of a disclosure."""

MAX_DISCLOSURE_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a disclosure in a file."""

_OUTPUT_PREFIX = b"output-commitment/v1\0"


class DisclosedOutput(Value, frozen=True):
    """The digests of an output of which the record has commitments, and their salt."""

    content_digest: Hex32
    wire_digest: Hex32
    salt: Hex32


class Disclosure(Value, frozen=True):
    """Some of what one record commits to.

    Attributes:
        receipt: Shim id and number of the intent, as ``x-receipt-id`` has them.
    """

    schema: Literal["disclosure/v1"]
    receipt: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}/(0|[1-9][0-9]{0,18})\Z")]
    fields: Annotated[tuple[DisclosedField, ...], msgspec.Meta(max_length=MAX_FIELDS)] = ()
    output: DisclosedOutput | msgspec.UnsetType = msgspec.UNSET


def commit_output(salt: bytes, digest: bytes) -> bytes:
    """What stands for a digest of an output: ``H("output-commitment/v1" ‖ 0x00 ‖ salt ‖ digest)``.

    Args:
        salt: 32 bytes, of this record alone.
        digest: The content or the wire digest, 32 bytes.
    """
    return sha256(_OUTPUT_PREFIX + salt + digest)


def verify_disclosure(disclosure: Disclosure, record: Completion) -> None:
    """Check that ``record`` commits to everything that ``disclosure`` shows.

    That the record is in the log is for the caller to check.

    Raises:
        VerificationError: ``FIELD_COMMITMENT``.
    """
    receipt = f"{record.sequence.shim_id}/{record.intent_n}"
    if disclosure.receipt != receipt:
        raise _not_of(disclosure.receipt, "the record of this call", receipt)
    private = record.private
    if private is msgspec.UNSET:
        raise _not_of(receipt, "a record that commits to private content", "none")
    if disclosure.fields:
        if private.root is msgspec.UNSET:
            raise _not_of(receipt, "a record that commits to fields", "none")
        for field in disclosure.fields:
            field.verify(bytes.fromhex(private.root), private.fields)
    output = disclosure.output
    if output is not msgspec.UNSET:
        response = record.response
        salt = bytes.fromhex(output.salt)
        for shown, committed in (
            (output.content_digest, response.content_digest),
            (output.wire_digest, response.wire_digest),
        ):
            actual = commit_output(salt, bytes.fromhex(shown)).hex()
            if private.output != "committed" or not hmac.compare_digest(actual, committed):
                raise _not_of(receipt, f"output commitment {committed}", actual)


def _not_of(receipt: str, expected: str, actual: str) -> VerificationError:
    return VerificationError(
        Reason.FIELD_COMMITMENT,
        "the record does not commit to what is disclosed",
        where=receipt,
        expected=expected,
        actual=actual,
    )
