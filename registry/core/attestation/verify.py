"""The one order of checks, from a Sigstore bundle to what was signed, by whom, and when.

1. The bundle is well formed (:mod:`registry.core.attestation.bundle`).
2. Time: every timestamp in it, and the log's promise if there is one, is genuine.
3. The log entry is in a trusted log, which was in use at that time.
4. The certificate chains to a trusted authority, at each of those times.
5. Its SCT was made by a trusted CT log.
6. The entry is about this signature, by this signer, over these bytes.
7. The signature verifies over these bytes.
8. The signer is who was expected.

Nothing unverified rides along: a proof that is not needed, but there, must hold. Witnesses are not
part of a trusted root: whoever wants their cosignatures on the log's checkpoint gives a policy, for
which no stock client has a place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from registry.core import encoding
from registry.core.archive.authority import Authority as TimestampAuthority
from registry.core.archive.timestamp import open_response
from registry.core.attestation.bundle import Bundle, Message
from registry.core.attestation.identity import Expected, Identity, verify_identity
from registry.core.attestation.inclusion import Logged, open_entry
from registry.core.attestation.logged_body import Signed, verify_body
from registry.core.attestation.statement import MAX_SUBJECTS
from registry.core.attestation.trusted_root import LogKey, Trust
from registry.core.certificates.chain import Authority, issuing_authority
from registry.core.certificates.sct import verify_sct
from registry.core.certificates.signing import SigningCertificate
from registry.core.keys import PublicKey
from registry.core.tlog.policy import Policy
from registry.errors import MalformedError, Reason, RegistryError, VerificationError


@dataclass(frozen=True, slots=True)
class Opened:
    """What a verified bundle says.

    Attributes:
        signer: Who signed.
        digest: SHA-256 of what was signed: the artifact, or the statement's PAE.
        payload: The statement, if that is what was signed.
        times: When the signature existed, as timestamp authorities and logs say; may be empty for
            a bare key.
        log: The log that holds the signature.
    """

    signer: Identity | PublicKey
    digest: bytes
    payload: bytes | None
    times: tuple[datetime, ...]
    log: LogKey


def open_bundle(
    bundle: Bundle,
    trust: Trust,
    expected: Expected,
    *,
    artifact: bytes | None = None,
    policy: Policy | None = None,
) -> Opened:
    """Verify a bundle.

    Args:
        bundle: What to verify.
        trust: Whose logs, authorities and timestamps are believed.
        expected: Who must have signed; with a bare key, there is no other way to know the key.
        artifact: SHA-256 of the bytes that the bundle must be about. Needed for a signature over
            bytes; a statement must have them as a subject.
        policy: Which witnesses must have cosigned the log's checkpoint; None asks for none.

    Raises:
        MalformedError: What is wrong with a part of the bundle.
        VerificationError: ``NO_TRUSTED_TIME``, ``LOG_TIME``, ``CERTIFICATE_TIME``,
            ``CERTIFICATE_CHAIN``, ``UNKNOWN_AUTHORITY``, ``SCT``, ``WRONG_LOG``,
            ``LOG_SIGNATURE``, ``INCLUSION_PROOF``, ``INCLUSION_PROMISE``, ``ENTRY_MISMATCH``,
            ``BAD_SIGNATURE``, ``ARTIFACT_MISMATCH``, ``IDENTITY_MISMATCH``, ``QUORUM``,
            ``COSIGNATURE``, or what is wrong with a timestamp.
    """
    digest, payload = _signed(bundle, artifact)
    stamps = tuple(
        _stamped_at(token, bundle.signature, trust.timestamp_authorities)
        for token in bundle.timestamps
    )
    logged = open_entry(bundle.entry, trust.logs)
    if policy is not None:
        policy.verify(bundle.entry.checkpoint)
    times = stamps if logged.at is None else (*stamps, logged.at)
    _check_log_time(logged, times)
    signer, key = _signer(bundle, trust, expected, times)
    verify_body(
        bundle.entry, Signed(digest, bundle.signature, bundle.certificate, key.der, payload)
    )
    key.verify_digest(bundle.signature, digest)
    if isinstance(signer, SigningCertificate):
        if isinstance(expected, PublicKey):
            raise _somebody_else(f"the holder of key {expected.key_id}", Identity.of(signer))
        verify_identity(expected, signer)
        return Opened(expected, digest, payload, times, logged.log)
    return Opened(signer, digest, payload, times, logged.log)


def _signed(bundle: Bundle, artifact: bytes | None) -> tuple[bytes, bytes | None]:
    """The digest that was signed, and the statement if it is of one."""
    content = bundle.content
    if isinstance(content, Message):
        if artifact is None:
            raise VerificationError(
                Reason.ARTIFACT_MISMATCH, "a signature over bytes needs these bytes"
            )
        if content.digest not in (b"", artifact):
            raise VerificationError(
                Reason.ARTIFACT_MISMATCH,
                "the bundle is about other bytes",
                expected=artifact.hex(),
                actual=content.digest.hex(),
            )
        return artifact, None
    if artifact is not None and artifact.hex() not in _subjects(content.payload):
        raise VerificationError(
            Reason.ARTIFACT_MISMATCH,
            "the statement is about other bytes",
            expected=artifact.hex(),
        )
    return content.record_id, content.payload


class _Subject(msgspec.Struct, frozen=True):
    digest: dict[str, str]


class _Subjects(msgspec.Struct, frozen=True):
    subject: tuple[_Subject, ...]


def _subjects(payload: bytes) -> set[str]:
    """The SHA-256 digests that a statement by anybody is about, whatever else it says."""
    try:
        members = encoding.read_foreign_numbers(payload, what="in-toto statement")
        subjects = msgspec.convert(members, _Subjects).subject
    except (MalformedError, msgspec.ValidationError) as error:
        raise MalformedError(
            Reason.MALFORMED_STATEMENT, "this is not an in-toto statement", actual=str(error)
        ) from error
    if len(subjects) > MAX_SUBJECTS:
        raise MalformedError(Reason.MALFORMED_STATEMENT, "this statement has too many subjects")
    return {digest for item in subjects if (digest := item.digest.get("sha256"))}


def _stamped_at(response: bytes, signature: bytes, authorities: Sequence[Authority]) -> datetime:
    refusal: RegistryError = VerificationError(
        Reason.NO_TRUSTED_TIME,
        "the bundle holds a timestamp, and no timestamp authority is trusted",
    )
    for authority in authorities:
        window = authority.window
        try:
            pinned = TimestampAuthority(authority.chain, window.start, window.end)
            return open_response(response, signature, pinned).at
        except RegistryError as error:
            # Another authority may have made it; the last refusal tells why the last one has not.
            refusal = error
    raise refusal


def _check_log_time(logged: Logged, times: tuple[datetime, ...]) -> None:
    """A retired log's key may have been stolen since: its entries need a time within its use."""
    window = logged.log.window
    if not times and window.end is not None:
        raise VerificationError(
            Reason.NO_TRUSTED_TIME,
            "nothing proves that the entry was made while its log was in use",
            where=logged.log.host,
            expected=str(window),
            hint="the log has ended: its bundles need RFC 3161 timestamps from before its end",
        )
    for at in times if logged.at is None else (logged.at,):
        if at not in window:
            raise VerificationError(
                Reason.LOG_TIME,
                "the log was not in use at that time",
                where=logged.log.host,
                expected=str(window),
                actual=at.isoformat(),
            )


def _signer(
    bundle: Bundle, trust: Trust, expected: Expected, times: tuple[datetime, ...]
) -> tuple[SigningCertificate | PublicKey, PublicKey]:
    """Who signed, with which key."""
    if not bundle.certificate:
        if not isinstance(expected, PublicKey):
            raise _somebody_else(expected, f"the holder of a bare key ({bundle.key_hint[:80]!r})")
        return expected, expected
    certificate = SigningCertificate.parse(bundle.certificate)
    if not times:
        raise VerificationError(
            Reason.NO_TRUSTED_TIME,
            "nothing proves that the certificate was valid when it was used",
            hint="a bundle with a certificate needs an RFC 3161 timestamp over its signature",
        )
    for at in times:
        authority = issuing_authority(bundle.certificate, trust.authorities, at)
        verify_sct(bundle.certificate, authority.chain[0], trust.ct_keys)
    return certificate, certificate.key


def _somebody_else(expected: object, actual: object) -> VerificationError:
    return VerificationError(
        Reason.IDENTITY_MISMATCH,
        "somebody else signed this",
        expected=str(expected),
        actual=str(actual),
    )
