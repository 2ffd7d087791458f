"""A private Sigstore in memory: CA, CT log, timestamp authority and transparency log, all real.

Each part can be replaced by a wrong one, to make the bundles that a verifier must refuse.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.core.attestation.bundle import Bundle, Message
from registry.core.attestation.dsse import PAYLOAD_TYPE, Envelope, pae
from registry.core.attestation.identity import Identity
from registry.core.attestation.trust_config import Instance
from registry.core.attestation.trusted_root import TrustedRoot
from registry.core.digest import sha256
from registry.core.keys import PublicKey
from registry.core.tlog import entry
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.merkle import inclusion_path, leaf_hash, root
from registry.core.tlog.note import Note, SignatureLine, VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.core.tlog.rekor import TransparencyLogEntry
from tests.authorities import NOON, granted
from tests.authorities import Authority as TimestampAuthority
from tests.private_certificates import CA, IDENTITY, OIDC_ISSUER, CTLog, Leaf, p256, spki

HOST = "log.example"
ARTIFACT = b"the weights of a model\n"
STATEMENT = (
    b'{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":'
    b'"https://acme.example/v1","subject":[{"digest":{"sha256":"%s"},"name":"weights"}]}'
) % sha256(ARTIFACT).hex().encode()
SIGNER = Identity(OIDC_ISSUER, IDENTITY)
ECDSA = ec.ECDSA(hashes.SHA256())


@dataclass
class Log:
    """A transparency log that has two entries by others before the one that matters."""

    host: str = HOST
    key: Ed25519PrivateKey = field(
        default_factory=lambda: Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x05")
    )
    before: tuple[bytes, ...] = (b"one", b"two")

    @property
    def verifier(self) -> VerifierKey:
        raw = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return VerifierKey(self.host, raw)

    def note(self, head: Checkpoint) -> bytes:
        """The signed checkpoint."""
        text = str(head)
        line = SignatureLine(self.verifier.name, self.verifier.key_id, self.key.sign(text.encode()))
        return str(Note(text, (line,))).encode()

    def record(self, body: bytes, after: Sequence[bytes] = (b"four", b"five")) -> Receipt:
        """Log an entry between others."""
        leaves = [leaf_hash(item) for item in (*self.before, body, *after)]
        index = len(self.before)
        head = Checkpoint(self.host, len(leaves), root(leaves))
        signed = SignedCheckpoint(head, self.note(head))
        return Receipt(index, inclusion_path(leaves, index), signed)


@dataclass
class Sigstore:
    """Everything that a signer needs, and a verifier must be told about."""

    ca: CA = field(default_factory=lambda: CA.root("acme root").below("acme"))
    ct: CTLog = field(default_factory=CTLog)
    tsa: TimestampAuthority = field(default_factory=TimestampAuthority)
    log: Log = field(default_factory=Log)
    leaf: Leaf = field(default_factory=Leaf)

    @property
    def instance(self) -> Instance:
        return Instance(
            url=f"https://{self.log.host}",
            log_key=self.log.verifier,
            start=NOON - timedelta(days=20),
            certificate_authorities=(self.ca.chain,),
            timestamp_authorities=(self.tsa.chain,),
            ct_keys=(self.ct.trusted().key,),
        )

    @property
    def root(self) -> TrustedRoot:
        return self.instance.trusted_root()

    @property
    def signing_key(self) -> ec.EllipticCurvePrivateKey:
        assert isinstance(self.leaf.key, ec.EllipticCurvePrivateKey)
        return self.leaf.key

    @property
    def public_key(self) -> PublicKey:
        return PublicKey.parse(spki(self.leaf.key))

    def stamp(self, signature: bytes, at: datetime = NOON) -> bytes:
        return granted(self.tsa.token(signature, at=at))

    def bundle(
        self, content: Message | Envelope, digest: bytes, *, certified: bool = True
    ) -> Bundle:
        """Log and stamp a signature."""
        certificate = self.ct.certify(self.ca, self.leaf) if certified else b""
        if certified:
            body = entry.write_certified(digest, content.signature, certificate)
        else:
            body = entry.write(digest, content.signature, self.public_key.der)
        logged = TransparencyLogEntry.proved(body, self.log.record(body), self.log.verifier)
        return Bundle(
            version=(0, 3),
            certificate=certificate,
            key_hint="" if certified else self.public_key.key_id,
            entry=logged,
            timestamps=(self.stamp(content.signature),),
            content=content,
        )

    def sign(self, artifact: bytes = ARTIFACT, *, certified: bool = True) -> Bundle:
        """A signature over bytes."""
        signature = self.signing_key.sign(artifact, ECDSA)
        digest = sha256(artifact)
        return self.bundle(Message(signature, digest), digest, certified=certified)

    def attest(self, payload: bytes = STATEMENT, *, certified: bool = True) -> Bundle:
        """A statement in an envelope."""
        signed = pae(PAYLOAD_TYPE, payload)
        envelope = Envelope(payload, self.signing_key.sign(signed, ECDSA), "")
        return self.bundle(envelope, sha256(signed), certified=certified)


OTHER_KEY = p256(77)
