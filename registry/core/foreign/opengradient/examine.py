"""The examination of an OpenGradient response: proof, key, request, output, and the enclave."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from registry.core.digest import sha256
from registry.core.evidence.checks import CheckError, CheckResult, Finding, Ledger, Severity
from registry.core.evidence.claims import Family
from registry.core.evidence.validity import appraised_at
from registry.core.foreign import platform, spelling
from registry.core.foreign.captured import Asked, Captured, PartRole
from registry.core.foreign.ethereum import keccak256
from registry.core.foreign.opengradient import alpha, settling
from registry.core.foreign.opengradient import request as requests
from registry.core.foreign.opengradient.request import Spelling
from registry.core.foreign.opengradient.response import Answer, Found, LegacyProof, Proof
from registry.core.foreign.opengradient.settlement import leaf_of
from registry.core.foreign.platform import Attested, Device, same
from registry.core.foreign.proof import Strength, System
from registry.core.foreign.reading import Reading
from registry.errors import MalformedError

PARSER: Final = "opengradient/1"
"""This parser: another number reads the same bytes otherwise."""

SETTLED: Final = "opengradient/2"
"""This parser, of a response that comes with its settlement: the one before read none."""

CURRENT: Final = "gateway/2026-02"
LEGACY: Final = "gateway/2025"

KEY_BITS: Final = 2048
"""Bits of an enclave's key."""

MAX_KEY_BYTES: Final = 4096
"""Bytes of a key in PEM or DER."""

TABLE: Final[Mapping[str, str]] = {
    "P1": "the response, and the proof in it",
    "P2": "the request",
    "P3": "the key: RSA of 2048 bits",
    "P4": "what is settled of the response",
    "P5": "the events that a node of the chain tells",
    "S1": "the key is the one that is named",
    "S2": "the signature",
    "S3": "the chain's own proof of the event",
    "C1": "the request, in a spelling that is known",
    "C2": "the output",
    "C3": "one choice: the others are not signed",
    "C4": "the settlement is of this response",
    "C5": "the tree of the batch",
    "C6": "the event is of this settlement, or of one inference on the chain",
    "A1": "the document of the enclave",
    "A2": "the document is for this key",
    "A3": "the document is for the nonce",
}
"""Every check, in order."""

_UNCOVERED: Final = (
    "model weights: the name is all that is signed, and another provider runs it",
    "bytes of attachments and of generated images",
    "a message that asks for JSON, put in by the gateway",
    "request headers",
    "response headers",
)
_UNSIGNED: Final = ("id", "created", "model", "finish_reason", "usage")
_MULTIHASH: Final = bytes.fromhex("1220")


def examine(captured: Captured, asked: Asked) -> tuple[Reading, tuple[CheckResult, ...]]:
    """Read and check a response of OpenGradient's gateway.

    Raises:
        MalformedError: ``FOREIGN_PART`` without a response; ``BAD_TIME``; what is wrong with the
            appraisal policy.
        UnavailableError: ``MISSING_EXTRA``.
    """
    ledger = Ledger(TABLE, appraised_at(asked.at))
    reading = Reading(
        System.OPENGRADIENT, CURRENT, PARSER, model=Strength.NAME_ONLY, code=Strength.MEASURED
    )
    if not captured.all(PartRole.RESPONSE) and captured.all(PartRole.TRANSACTION):
        alpha.examine(ledger, reading, captured)
        return reading, ledger.results()
    data = captured.require(PartRole.RESPONSE)
    read: tuple[Answer, Proof | LegacyProof] | None = None
    with ledger.check("P1", data):
        answer = Answer.parse(data)
        read = (answer, answer.proof())
    key = _key(ledger, reading, captured)
    request = _request(ledger, captured)
    reading.uncovered += _UNCOVERED
    if read is not None:
        answer, proof = read
        if isinstance(proof, Proof):
            _current(ledger, reading, answer, proof, key)
            _settled(ledger, reading, captured, proof)
            spellings = requests.COMPLETION if answer.is_text else requests.CHAT
            _hashed(ledger, reading, request, spellings, proof.request_hash)
        else:
            _legacy(ledger, reading, answer, proof, key)
            settling.skip(ledger)
            named = bytes.fromhex(proof.request_hash)
            _hashed(ledger, reading, request, requests.LEGACY, named)
        if answer.choices > 1:
            text = f"{answer.choices} choices, of which the first is signed"
            ledger.find("C3", Found.SEVERAL_CHOICES, text)
        else:
            ledger.skip("C3", Finding.NOT_APPLICABLE, "there is one choice")
    device = Device(Family.AWS_NITRO, captured.one(PartRole.EVIDENCE), captured.endorsements)
    attested = platform.examine(ledger, "A1", device, asked)
    if attested is not None:
        _enclave(ledger, reading, attested, key, asked)
    return reading, ledger.results()


def _key(ledger: Ledger, reading: Reading, captured: Captured) -> RSAPublicKey | None:
    given = captured.one(PartRole.KEY)
    if given is None:
        ledger.skip("P3", Finding.MISSING, "the key of the enclave is not at hand")
        return None
    key: RSAPublicKey | None = None
    with ledger.check("P3", given):
        key = read_key(given)
        reading.say(key_sha256=sha256(der(key)).hex())
    return key


def read_key(data: bytes) -> RSAPublicKey:
    """An enclave's public key, PEM or DER.

    Raises:
        CheckError: ``KEY_FORM``.
    """
    try:
        if len(data) > MAX_KEY_BYTES:
            message = f"{len(data)} bytes"
            raise ValueError(message)  # noqa: TRY301 - one refusal for all of them
        load = (
            serialization.load_pem_public_key
            if data.lstrip().startswith(b"-----BEGIN")
            else serialization.load_der_public_key
        )
        key = load(data)
        if not isinstance(key, RSAPublicKey) or key.key_size != KEY_BITS:
            message = f"{type(key).__name__}, {getattr(key, 'key_size', 0)} bits"
            raise ValueError(message)  # noqa: TRY301 - as above
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CheckError(
            Found.KEY_FORM,
            "this is no key of an enclave",
            expected=f"RSA of {KEY_BITS} bits, PEM or DER",
            actual=str(error)[:200],
        ) from error
    return key


def der(key: RSAPublicKey) -> bytes:
    """The one DER of a key, which names it."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _request(ledger: Ledger, captured: Captured) -> dict[str, Any] | None:
    data = captured.one(PartRole.REQUEST)
    if data is None:
        ledger.skip("P2", Finding.NOT_APPLICABLE, "the request is not at hand")
        return None
    request: dict[str, Any] | None = None
    with ledger.check("P2", data):
        try:
            request = requests.read(data)
        except MalformedError as error:
            raise CheckError(
                Found.REQUEST_FORM,
                "this is no request that every reader reads alike",
                actual=str(error),
            ) from error
    return request


def message_hash(request_hash: bytes, output_hash: bytes, timestamp: int) -> bytes:
    """The 32 bytes that are signed since 2026-02, and hashed again in doing so."""
    return keccak256(request_hash + output_hash + timestamp.to_bytes(32, "big"))


def _settled(ledger: Ledger, reading: Reading, captured: Captured, proof: Proof) -> None:
    if settling.concerns(captured):
        reading.parser_version = SETTLED
        settling.examine(ledger, reading, captured, proof)
    else:
        settling.skip(ledger)


def _current(
    ledger: Ledger, reading: Reading, answer: Answer, proof: Proof, key: RSAPublicKey | None
) -> None:
    reading.say(
        request_hash=proof.request_hash.hex(),
        output_hash=proof.output_hash.hex(),
        tee_timestamp=proof.timestamp,
        tee_id=f"0x{proof.tee_id.hex()}",
        settlement_leaf=leaf_of(proof).hex(),
        response_model=_named(answer.members.get("model")),
    )
    reading.covered += ["output: the text or the tool calls of the first choice", "tee_timestamp"]
    reading.uncovered += [f"response.{name}" for name in _UNSIGNED]
    if key is not None:
        with ledger.check("S1", der(key)):
            what = "the response names another key"
            same(keccak256(der(key)), proof.tee_id, Found.KEY_MISMATCH, what)
        message = message_hash(proof.request_hash, proof.output_hash, proof.timestamp)
        with ledger.check("S2", message):
            _verify(key, proof.signature, message, hashes.SHA256.digest_size)
    with ledger.check("C2"):
        output = answer.output()
        _require(
            proof.output_hash,
            keccak256(output),
            Found.OUTPUT_MISMATCH,
            "in no known spelling is this the output that was signed",
        )


def _legacy(
    ledger: Ledger, reading: Reading, answer: Answer, proof: LegacyProof, key: RSAPublicKey | None
) -> None:
    """The message itself is signed, with as much salt as there is room for."""
    reading.format_version = LEGACY
    reading.say(
        request_hash=proof.request_hash,
        timestamp=proof.timestamp,
        response_model=_named(answer.members.get("model")),
    )
    reading.covered += ["response.message", "response.model", "response.finish_reason", "timestamp"]
    reading.uncovered += ["response.id", "response.created", "response.usage"]
    ledger.skip("S1", Finding.NOT_APPLICABLE, "the response names no key")
    ledger.skip("C2", Finding.NOT_APPLICABLE, "the message itself is signed")
    if key is None:
        return
    signed = [
        spelling.spell(
            {
                "finish_reason": answer.finish_reason,
                "message": message,
                "model": answer.members.get("model"),
                "request_hash": proof.request_hash,
                "timestamp": proof.timestamp,
            },
            spelling.PYTHON_SORTED,
        )
        for message in (
            answer.message,
            {name: item for name, item in answer.message.items() if item is not None},
        )
    ]
    with ledger.check("S2", *signed):
        if not any(_fits(key, proof.signature, message) for message in signed):
            raise _bad()


def _fits(key: RSAPublicKey, signature: bytes, message: bytes) -> bool:
    room = KEY_BITS // 8 - hashes.SHA256.digest_size - 2
    try:
        _verify(key, signature, message, room)
    except CheckError:
        return False
    return True


def _verify(key: RSAPublicKey, signature: bytes, message: bytes, salt: int) -> None:
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
    try:
        key.verify(signature, message, pss, hashes.SHA256())
    except InvalidSignature as error:
        raise _bad() from error


def _bad() -> CheckError:
    return CheckError(Found.BAD_SIGNATURE, "the proof is not signed by this key")


def _hashed(
    ledger: Ledger,
    reading: Reading,
    request: Mapping[str, Any] | None,
    spellings: Sequence[Spelling],
    signed: bytes,
) -> None:
    """Find the spelling of the request that was signed, the newest first."""
    if request is None:
        ledger.skip("C1", Finding.NOT_APPLICABLE, "the request is not at hand")
        reading.uncovered.append("the request, which was not at hand")
        return
    digest = sha256 if spellings is requests.LEGACY else keccak256
    with ledger.check("C1"):
        for each in spellings:
            try:
                if digest(each.write(request)) != signed:
                    continue
            except MalformedError:
                # The gateway of that version refuses it.
                continue
            reading.canonicaliser = each.name
            left_out = each.uncovered(request)
            reading.uncovered += [f"request.{name}" for name in left_out]
            reading.covered += [f"request.{name}" for name in sorted(set(request) - set(left_out))]
            reading.say(model=_named(request.get("model")))
            return
        raise CheckError(
            Found.REQUEST_MISMATCH,
            "in no known spelling is this the request that was signed",
            severity=Severity.TIME,
            expected=signed.hex(),
            actual=", ".join(each.name for each in spellings),
        )


def _require(signed: bytes, actual: bytes, finding: Found, what: str) -> None:
    """As :func:`same`, where a difference leaves it open: some spelling may be unknown here."""
    if signed != actual:
        raise CheckError(
            finding, what, severity=Severity.TIME, expected=signed.hex(), actual=actual.hex()
        )


def _named(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _enclave(
    ledger: Ledger, reading: Reading, attested: Attested, key: RSAPublicKey | None, asked: Asked
) -> None:
    platform.note(reading, attested)
    measured = [attested.raw(f"pcr{index}") for index in range(3)]
    if all(measured):
        # By this name the enclave's image is listed on the chain.
        reading.say(pcr_hash=keccak256(b"".join(measured)).hex())
    said = attested.raw("user_data")
    if key is not None:
        with ledger.check("A2", said, der(key)):
            half = len(_MULTIHASH) + 32
            if len(said) != 2 * half or {said[:2], said[half : half + 2]} != {_MULTIHASH}:
                raise CheckError(
                    Found.USER_DATA,
                    "the document commits to something else than two SHA-256",
                    severity=Severity.IDENTITY,
                    actual=said.hex()[:200] or "nothing",
                )
            what = "the document is not for the key that signed"
            same(said[half + 2 :], sha256(der(key)), Found.KEY_UNBOUND, what)
            reading.say(tls_certificate_sha256=said[2:half].hex())
    nonce = attested.raw("nonce")
    if asked.nonce is not None:
        with ledger.check("A3", nonce):
            what = "the document is for another nonce than was sent"
            same(nonce, asked.nonce, Found.NONCE_MISMATCH, what)
    else:
        ledger.find("A3", Found.NO_NONCE, "no nonce was told here: the document may be old")
