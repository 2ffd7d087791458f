"""The one exception tree, and the closed list of reasons that it may give.

::

    RegistryError
    ├── MalformedError          not in the one form that is accepted
    ├── VerificationError       well formed, but the cryptography or the digest says no
    ├── RefusedError            genuine, but the registration policy does not admit it
    ├── ConflictError           contradicts something that was registered before
    ├── UnauthenticatedError    we do not know who is calling
    ├── ForbiddenError          we know who is calling, and they may not
    ├── NotFoundError           nothing of that name
    ├── LimitExceededError      larger, longer or more than a named limit
    ├── UnavailableError        not now; the same call may succeed later
    ├── UnsupportedError        not here, now or later; another method or another log does it
    └── DamagedError            stored bytes are not what was stored

The class says who is to blame, the :class:`Reason` says what is wrong. Reasons are a stable
promise to callers; the text is not.

Longer than 400 lines because the reasons are one closed list.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why something was refused: one stable word for each kind of bad input."""

    # Text and encodings.
    MALFORMED_JSON = "MALFORMED_JSON"
    NOT_CANONICAL = "NOT_CANONICAL"
    MALFORMED_BASE64 = "MALFORMED_BASE64"
    MALFORMED_HEX = "MALFORMED_HEX"
    MALFORMED_DECIMAL = "MALFORMED_DECIMAL"
    MALFORMED_DIGEST = "MALFORMED_DIGEST"
    MALFORMED_FIELD = "MALFORMED_FIELD"
    MALFORMED_NAME = "MALFORMED_NAME"
    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"

    # Keys and signatures.
    MALFORMED_KEY = "MALFORMED_KEY"
    KEY_ALGORITHM = "KEY_ALGORITHM"
    MALFORMED_SIGNATURE = "MALFORMED_SIGNATURE"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    UNKNOWN_SIGNER = "UNKNOWN_SIGNER"
    KEY_NOT_YOURS = "KEY_NOT_YOURS"
    KEY_REVOKED = "KEY_REVOKED"
    KEY_KNOWN = "KEY_KNOWN"

    # Certificates, Sigstore bundles and trusted roots.
    MALFORMED_CERTIFICATE = "MALFORMED_CERTIFICATE"
    UNKNOWN_AUTHORITY = "UNKNOWN_AUTHORITY"
    CERTIFICATE_CHAIN = "CERTIFICATE_CHAIN"
    CERTIFICATE_TIME = "CERTIFICATE_TIME"
    SCT = "SCT"
    SIGSTORE_BUNDLE = "SIGSTORE_BUNDLE"
    MALFORMED_LOG_ENTRY = "MALFORMED_LOG_ENTRY"
    MALFORMED_TRUSTED_ROOT = "MALFORMED_TRUSTED_ROOT"
    ORIGIN_HOST = "ORIGIN_HOST"
    NO_TRUSTED_TIME = "NO_TRUSTED_TIME"
    LOG_TIME = "LOG_TIME"
    INCLUSION_PROMISE = "INCLUSION_PROMISE"
    ENTRY_MISMATCH = "ENTRY_MISMATCH"
    ARTIFACT_MISMATCH = "ARTIFACT_MISMATCH"
    IDENTITY_MISMATCH = "IDENTITY_MISMATCH"
    IDENTITY_KNOWN = "IDENTITY_KNOWN"
    IDENTITY_NOT_YOURS = "IDENTITY_NOT_YOURS"
    ENGINES_DISAGREE = "ENGINES_DISAGREE"
    NO_SIGSTORE_ROOT = "NO_SIGSTORE_ROOT"

    # Envelopes and statements.
    ENVELOPE_TOO_LARGE = "ENVELOPE_TOO_LARGE"
    MALFORMED_ENVELOPE = "MALFORMED_ENVELOPE"
    PAYLOAD_TYPE = "PAYLOAD_TYPE"
    SIGNATURE_COUNT = "SIGNATURE_COUNT"
    MALFORMED_STATEMENT = "MALFORMED_STATEMENT"
    FOREIGN_PREDICATE = "FOREIGN_PREDICATE"
    SUBJECT_MISMATCH = "SUBJECT_MISMATCH"
    PREDICATE_NOT_ALLOWED = "PREDICATE_NOT_ALLOWED"
    UNKNOWN_REFERENCE = "UNKNOWN_REFERENCE"

    # The log.
    MALFORMED_NOTE = "MALFORMED_NOTE"
    MALFORMED_CHECKPOINT = "MALFORMED_CHECKPOINT"
    MALFORMED_PROOF = "MALFORMED_PROOF"
    MALFORMED_ENTRY = "MALFORMED_ENTRY"
    MALFORMED_TILE_PATH = "MALFORMED_TILE_PATH"
    LOG_SIGNATURE = "LOG_SIGNATURE"
    WRONG_LOG = "WRONG_LOG"
    INCLUSION_PROOF = "INCLUSION_PROOF"
    CONSISTENCY_PROOF = "CONSISTENCY_PROOF"
    FORK = "FORK"
    LOG_LATCHED = "LOG_LATCHED"
    LOG_BUSY = "LOG_BUSY"
    LOG_IN_USE = "LOG_IN_USE"
    LOG_ROLLBACK = "LOG_ROLLBACK"
    LOCK_MISSING = "LOCK_MISSING"
    KEY_LOST = "KEY_LOST"
    LOCK_MOVED = "LOCK_MOVED"
    LOGGED_BARE = "LOGGED_BARE"
    BEYOND_TREE = "BEYOND_TREE"

    # Signatures without statements.
    NOT_ADMITTED = "NOT_ADMITTED"
    ENTRY_EXISTS = "ENTRY_EXISTS"
    LOG_FROZEN = "LOG_FROZEN"

    # Following a log.
    MALFORMED_BUNDLE = "MALFORMED_BUNDLE"
    TILE = "TILE"
    LOG_STALE = "LOG_STALE"
    SELECTION = "SELECTION"
    WATCHERS = "WATCHERS"

    # COSE receipts.
    MALFORMED_COSE = "MALFORMED_COSE"

    # Artifacts and transfer.
    DIGEST_MISMATCH = "DIGEST_MISMATCH"
    SIZE_MISMATCH = "SIZE_MISMATCH"
    CHUNK_OUT_OF_ORDER = "CHUNK_OUT_OF_ORDER"
    CHUNK_TOO_LARGE = "CHUNK_TOO_LARGE"
    TRUNCATED_UPLOAD = "TRUNCATED_UPLOAD"
    BLOB_TOO_LARGE = "BLOB_TOO_LARGE"
    UNKNOWN_BLOB = "UNKNOWN_BLOB"
    MISSING_BLOB = "MISSING_BLOB"
    OFFSET_OUT_OF_RANGE = "OFFSET_OUT_OF_RANGE"

    # Manifests and folders.
    EMPTY_MODEL = "EMPTY_MODEL"
    UNSAFE_PATH = "UNSAFE_PATH"
    PATH_NOT_NFC = "PATH_NOT_NFC"
    PATH_COLLISION = "PATH_COLLISION"
    PATH_ORDER = "PATH_ORDER"
    NOT_A_REGULAR_FILE = "NOT_A_REGULAR_FILE"
    FILE_CHANGED = "FILE_CHANGED"
    TOO_MANY_FILES = "TOO_MANY_FILES"
    TARGET_EXISTS = "TARGET_EXISTS"

    # Model files.
    MALFORMED_SAFETENSORS = "MALFORMED_SAFETENSORS"
    SAFETENSORS_HEADER_SIZE = "SAFETENSORS_HEADER_SIZE"
    SAFETENSORS_HEADER = "SAFETENSORS_HEADER"
    SAFETENSORS_TENSOR = "SAFETENSORS_TENSOR"
    SAFETENSORS_LAYOUT = "SAFETENSORS_LAYOUT"
    SAFETENSORS_INDEX = "SAFETENSORS_INDEX"
    MALFORMED_ONNX = "MALFORMED_ONNX"
    ONNX_VERSION = "ONNX_VERSION"
    ONNX_TENSOR = "ONNX_TENSOR"
    ONNX_EXTERNAL_DATA = "ONNX_EXTERNAL_DATA"
    ONNX_NESTING = "ONNX_NESTING"
    INSPECTION_LIMIT = "INSPECTION_LIMIT"
    STRUCTURE_MISMATCH = "STRUCTURE_MISMATCH"

    # Records.
    VERSION_EXISTS = "VERSION_EXISTS"
    UNKNOWN_VERSION = "UNKNOWN_VERSION"
    UNKNOWN_OUTPUT = "UNKNOWN_OUTPUT"
    UNKNOWN_RECORD = "UNKNOWN_RECORD"
    SHARES = "SHARES"
    BATCH_CHAIN = "BATCH_CHAIN"
    BATCH_CONTENT = "BATCH_CONTENT"
    BATCH_TOO_LARGE = "BATCH_TOO_LARGE"

    # Identity tokens, and certificates on request.
    MALFORMED_IDENTITY_TOKEN = "MALFORMED_IDENTITY_TOKEN"  # noqa: S105 - a reason
    UNKNOWN_ISSUER = "UNKNOWN_ISSUER"
    WRONG_AUDIENCE = "WRONG_AUDIENCE"
    TOKEN_ALGORITHM = "TOKEN_ALGORITHM"  # noqa: S105 - a reason, not a secret
    UNKNOWN_TOKEN_KEY = "UNKNOWN_TOKEN_KEY"  # noqa: S105 - a reason, not a secret
    TOKEN_SIGNATURE = "TOKEN_SIGNATURE"  # noqa: S105 - a reason, not a secret
    TOKEN_NOT_YET_VALID = "TOKEN_NOT_YET_VALID"  # noqa: S105 - a reason, not a secret
    EMAIL_NOT_VERIFIED = "EMAIL_NOT_VERIFIED"
    UNUSABLE_IDENTITY = "UNUSABLE_IDENTITY"
    MALFORMED_KEY_SET = "MALFORMED_KEY_SET"
    MALFORMED_CERTIFICATE_REQUEST = "MALFORMED_CERTIFICATE_REQUEST"
    PROOF_OF_POSSESSION = "PROOF_OF_POSSESSION"
    TOO_MANY_CERTIFICATES = "TOO_MANY_CERTIFICATES"

    # Keys elsewhere.
    KEY_SERVICE = "KEY_SERVICE"

    # Access.
    NO_TOKEN = "NO_TOKEN"  # noqa: S105 - a reason, not a secret
    UNKNOWN_TOKEN = "UNKNOWN_TOKEN"  # noqa: S105 - a reason, not a secret
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - a reason, not a secret
    TOKEN_REVOKED = "TOKEN_REVOKED"  # noqa: S105 - a reason, not a secret
    ROLE = "ROLE"
    NAMESPACE = "NAMESPACE"
    PRINCIPAL_EXISTS = "PRINCIPAL_EXISTS"
    UNKNOWN_PRINCIPAL = "UNKNOWN_PRINCIPAL"

    # Capsules.
    MALFORMED_CAPSULE = "MALFORMED_CAPSULE"
    CAPSULE_PART = "CAPSULE_PART"
    CAPSULE_LINK = "CAPSULE_LINK"
    LOG_KEY_NOT_PINNED = "LOG_KEY_NOT_PINNED"
    AUTHORITY_NOT_PINNED = "AUTHORITY_NOT_PINNED"
    NO_TIMESTAMP = "NO_TIMESTAMP"

    # Timestamps.
    MALFORMED_DER = "MALFORMED_DER"
    MALFORMED_TIMESTAMP = "MALFORMED_TIMESTAMP"
    TIMESTAMP_TOO_LARGE = "TIMESTAMP_TOO_LARGE"
    TIMESTAMP_REJECTED = "TIMESTAMP_REJECTED"
    TIMESTAMP_AUTHORITY = "TIMESTAMP_AUTHORITY"
    TIMESTAMP_SIGNER = "TIMESTAMP_SIGNER"
    TIMESTAMP_SIGNATURE = "TIMESTAMP_SIGNATURE"
    TIMESTAMP_IMPRINT = "TIMESTAMP_IMPRINT"
    TIMESTAMP_POLICY = "TIMESTAMP_POLICY"
    TIMESTAMP_NONCE = "TIMESTAMP_NONCE"
    TIMESTAMP_VALIDITY = "TIMESTAMP_VALIDITY"
    TIMESTAMP_CLOCK = "TIMESTAMP_CLOCK"
    TIMESTAMP_ORDER = "TIMESTAMP_ORDER"
    TIMESTAMP_DISAGREEMENT = "TIMESTAMP_DISAGREEMENT"

    # The shim.
    JOURNAL_DAMAGED = "JOURNAL_DAMAGED"
    JOURNAL_LATCHED = "JOURNAL_LATCHED"
    JOURNAL_IN_USE = "JOURNAL_IN_USE"
    JOURNAL_BUSY = "JOURNAL_BUSY"
    JOURNAL_FULL = "JOURNAL_FULL"
    JOURNAL_ROLLBACK = "JOURNAL_ROLLBACK"
    INTENT_CLOSED = "INTENT_CLOSED"
    MISSING_EXTRA = "MISSING_EXTRA"
    WRONG_MODEL_FILE = "WRONG_MODEL_FILE"
    ANOTHER_MODEL = "ANOTHER_MODEL"
    UNREPORTED = "UNREPORTED"
    BINDING_TOO_WEAK = "BINDING_TOO_WEAK"
    UNSUPPORTED_TENSOR = "UNSUPPORTED_TENSOR"
    BAD_TARGET = "BAD_TARGET"
    FOREIGN_FOLDER = "FOREIGN_FOLDER"
    UNFIT_ANSWER = "UNFIT_ANSWER"
    BROKEN_ANSWER = "BROKEN_ANSWER"

    # Whether the records of a shim are complete.
    SEQUENCE_GAP = "SEQUENCE_GAP"
    SEQUENCE_OVERLAP = "SEQUENCE_OVERLAP"
    SIGNER_CHANGED = "SIGNER_CHANGED"
    UNRECORDED_CALLS = "UNRECORDED_CALLS"
    BOOT_UNEXPLAINED = "BOOT_UNEXPLAINED"
    STOP_UNEXPLAINED = "STOP_UNEXPLAINED"
    INTENT_OPEN = "INTENT_OPEN"
    INTENT_UNSTRUCK = "INTENT_UNSTRUCK"
    OUTCOME_UNEXPLAINED = "OUTCOME_UNEXPLAINED"
    UNKNOWN_SETUP = "UNKNOWN_SETUP"
    HEARTBEAT_GAP = "HEARTBEAT_GAP"
    CLOCK_BACKWARDS = "CLOCK_BACKWARDS"
    SHIM_SILENT = "SHIM_SILENT"
    LEVEL_UNANSWERED = "LEVEL_UNANSWERED"
    UNKNOWN_SHIM = "UNKNOWN_SHIM"
    NOT_A_CALL = "NOT_A_CALL"
    NOT_REGISTERED = "NOT_REGISTERED"
    RECEIPT_REUSED = "RECEIPT_REUSED"
    OUTPUT_HIDDEN = "OUTPUT_HIDDEN"

    # Replays.
    NOT_REPLAYABLE = "NOT_REPLAYABLE"
    REPLAY_SUBJECT = "REPLAY_SUBJECT"
    REPLAY_MISMATCH = "REPLAY_MISMATCH"
    REPLAY_INPUT = "REPLAY_INPUT"
    REPLAY_OUTPUT = "REPLAY_OUTPUT"
    REPLAY_FAILED = "REPLAY_FAILED"
    REPLAY_LIMIT = "REPLAY_LIMIT"

    # What records say of private content.
    FIELD_COMMITMENT = "FIELD_COMMITMENT"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    MALFORMED_SEALED_PAYLOAD = "MALFORMED_SEALED_PAYLOAD"
    NO_SEALED_PAYLOAD = "NO_SEALED_PAYLOAD"
    SEALED_PAYLOAD_KEY = "SEALED_PAYLOAD_KEY"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    ERASED = "ERASED"

    # Levels that callers ask for.
    LEVELS_BUSY = "LEVELS_BUSY"

    # Profiles.
    PROFILE = "PROFILE"
    EVENT_SIZE = "EVENT_SIZE"

    # Evidence of trusted execution environments.
    EVIDENCE_CHECK = "EVIDENCE_CHECK"
    EVIDENCE_SIZE = "EVIDENCE_SIZE"
    ENDORSEMENT_SIZE = "ENDORSEMENT_SIZE"
    BAD_TIME = "BAD_TIME"
    UNKNOWN_FAMILY = "UNKNOWN_FAMILY"
    POLICY_UNSET = "POLICY_UNSET"
    POLICY_EMPTY = "POLICY_EMPTY"
    POLICY_REPLACED = "POLICY_REPLACED"
    RESULT_MISMATCH = "RESULT_MISMATCH"

    # What an output's environment is attested to be.
    UNATTESTED = "UNATTESTED"
    WRONG_SESSION_KEY = "WRONG_SESSION_KEY"
    WRONG_MODEL = "WRONG_MODEL"
    EVIDENCE_AFTER_OUTPUT = "EVIDENCE_AFTER_OUTPUT"
    RESULT_NOT_IN_FORCE = "RESULT_NOT_IN_FORCE"
    ATTESTATION_REFUSED = "ATTESTATION_REFUSED"
    DISTRUSTED = "DISTRUSTED"

    # Evidence that is submitted.
    UNKNOWN_CHALLENGE = "UNKNOWN_CHALLENGE"
    CHALLENGE_EXPIRED = "CHALLENGE_EXPIRED"
    CHALLENGE_USED = "CHALLENGE_USED"
    CHALLENGE_NOT_YOURS = "CHALLENGE_NOT_YOURS"
    TOO_MANY_CHALLENGES = "TOO_MANY_CHALLENGES"
    UNREADABLE_EVIDENCE = "UNREADABLE_EVIDENCE"
    EVIDENCE_REPLAYED = "EVIDENCE_REPLAYED"
    WRONG_COMMITMENT = "WRONG_COMMITMENT"
    WRONG_NONCE = "WRONG_NONCE"
    WRONG_GPU = "WRONG_GPU"
    WRONG_CONTEXT = "WRONG_CONTEXT"
    UNKNOWN_APPRAISAL_POLICY = "UNKNOWN_APPRAISAL_POLICY"
    UNKNOWN_EVIDENCE = "UNKNOWN_EVIDENCE"
    APPRAISAL_LIMIT = "APPRAISAL_LIMIT"
    APPRAISAL_BUSY = "APPRAISAL_BUSY"

    # Proofs of other systems.
    FOREIGN_PART = "FOREIGN_PART"
    FOREIGN_SIZE = "FOREIGN_SIZE"
    UNKNOWN_SYSTEM = "UNKNOWN_SYSTEM"
    PROOF_MISMATCH = "PROOF_MISMATCH"
    PARSER_VERSION = "PARSER_VERSION"

    # Witnesses.
    COSIGNATURE = "COSIGNATURE"
    MALFORMED_POLICY = "MALFORMED_POLICY"
    QUORUM = "QUORUM"
    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    UNKNOWN_LOG = "UNKNOWN_LOG"
    WITNESS_AHEAD = "WITNESS_AHEAD"

    # Devices that attest.
    ATTESTER_ABSENT = "ATTESTER_ABSENT"
    ATTESTER_FAILED = "ATTESTER_FAILED"

    # Whom we ask.
    FOREIGN_ADDRESS = "FOREIGN_ADDRESS"
    NO_ENDORSEMENT = "NO_ENDORSEMENT"
    VENDOR_ANSWER = "VENDOR_ANSWER"
    REMOTE_STATUS = "REMOTE_STATUS"
    PEER_CERTIFICATE = "PEER_CERTIFICATE"
    ANSWER_TOO_LARGE = "ANSWER_TOO_LARGE"

    # Plain HTTP.
    UNKNOWN_PATH = "UNKNOWN_PATH"
    WRONG_METHOD = "WRONG_METHOD"
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    SLOW_REQUEST = "SLOW_REQUEST"
    MALFORMED_RANGE = "MALFORMED_RANGE"
    TOO_MANY_TRANSFERS = "TOO_MANY_TRANSFERS"
    LENGTH_REQUIRED = "LENGTH_REQUIRED"
    MEDIA_TYPE = "MEDIA_TYPE"

    # Running it.
    SCHEMA_BEHIND = "SCHEMA_BEHIND"
    BAD_SETTING = "BAD_SETTING"
    UNREACHABLE = "UNREACHABLE"
    DEADLINE = "DEADLINE"
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    STORED_BYTES = "STORED_BYTES"
    STORAGE_FAILED = "STORAGE_FAILED"
    DISK_LOW = "DISK_LOW"
    INTERNAL = "INTERNAL"


class RegistryError(Exception):
    """Anything that provreg refuses, with a stable reason and what to do about it.

    Attributes:
        reason: The stable word for what is wrong.
        what: One sentence for a person.
        where: The file, field or position concerned; empty if there is none.
        expected: What would have been accepted; empty if that is obvious.
        actual: What was found instead.
        hint: What to do next.
    """

    def __init__(
        self,
        reason: Reason,
        what: str,
        *,
        where: str = "",
        expected: str = "",
        actual: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(reason, what)
        self.reason = reason
        self.what = what
        self.where = where
        self.expected = expected
        self.actual = actual
        self.hint = hint

    def __str__(self) -> str:
        """``REASON: what (where; expected …; actual …). hint``."""
        details = [self.where] if self.where else []
        if self.expected:
            details.append(f"expected {self.expected}")
        if self.actual:
            details.append(f"actual {self.actual}")
        text = f"{self.reason}: {self.what}"
        if details:
            text += f" ({'; '.join(details)})"
        return f"{text}. {self.hint}" if self.hint else text


class MalformedError(RegistryError):
    """The input is not in the one form that is accepted."""


class VerificationError(RegistryError):
    """The input is well formed, but a signature, proof or digest does not hold."""


class RefusedError(RegistryError):
    """The input is genuine, but the registration policy does not admit it."""


class ConflictError(RegistryError):
    """The input contradicts something that was registered before."""


class UnauthenticatedError(RegistryError):
    """The caller did not prove who they are."""


class ForbiddenError(RegistryError):
    """The caller is known and may not do this."""


class NotFoundError(RegistryError):
    """Nothing of that name or digest is registered."""


class LimitExceededError(RegistryError):
    """The input is larger, longer or more numerous than a named limit."""


class UnavailableError(RegistryError):
    """Not possible now; the same call may succeed later."""


class UnsupportedError(RegistryError):
    """Not possible here, now or later; another method or another log does it."""


class DamagedError(RegistryError):
    """Stored bytes are not what was stored."""
