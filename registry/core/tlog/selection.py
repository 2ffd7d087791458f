"""Which entries of a log somebody looks for: by who signed, and by what was signed.

An entry of ours is read, and compared field by field. An entry of any other kind is bytes: it
matches a digest that is its leaf hash or occurs in it, raw, in hexadecimal or in base64.
"""

from dataclasses import dataclass

from registry.core import encoding
from registry.core.certificates.signing import SigningCertificate
from registry.core.digest import sha256
from registry.core.tlog import entry as entries
from registry.core.tlog.entry import Entry
from registry.core.tlog.merkle import leaf_hash
from registry.errors import LimitExceededError, MalformedError, Reason

MAX_WANTED = 256
"""Values of one kind that a selection may have."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is looked for: one of the values of every kind that has any; nothing given is all.

    Attributes:
        identities: Who the signer's certificate names: a URI or an e-mail address, exactly.
        issuers: Who vouches for the identity: the URL of an OIDC issuer, exactly.
        key_ids: Lowercase hexadecimal SHA-256 of the signer's SubjectPublicKeyInfo.
        digests: SHA-256 of what was signed, or of the leaf: 32 bytes each.
    """

    identities: frozenset[str] = frozenset()
    issuers: frozenset[str] = frozenset()
    key_ids: frozenset[str] = frozenset()
    digests: frozenset[bytes] = frozenset()

    def __post_init__(self) -> None:
        """Refuse what nobody can have meant.

        Raises:
            LimitExceededError: ``SELECTION`` for too many values.
        """
        for values in (self.identities, self.issuers, self.key_ids, self.digests):
            if len(values) > MAX_WANTED:
                raise LimitExceededError(
                    Reason.SELECTION,
                    "this selection has too many values of one kind",
                    expected=f"at most {MAX_WANTED}",
                    actual=str(len(values)),
                )

    @property
    def is_everything(self) -> bool:
        """Whether every entry matches."""
        return not (self.identities or self.issuers or self.key_ids or self.digests)

    def matches(self, body: bytes) -> bool:
        """Whether an entry is one of those that are looked for."""
        if self.is_everything:
            return True
        try:
            parsed = entries.parse(body)
        except MalformedError:
            return self._matches_foreign(body)
        return self._matches_digest(parsed, body) and self._matches_signer(parsed)

    def _matches_digest(self, parsed: Entry, body: bytes) -> bool:
        if not self.digests:
            return True
        return parsed.digest in self.digests or leaf_hash(body) in self.digests

    def _matches_signer(self, parsed: Entry) -> bool:
        if self.key_ids and sha256(parsed.key_der).hex() not in self.key_ids:
            return False
        if not (self.identities or self.issuers):
            return True
        if not parsed.certificate_der:
            return False
        try:
            signer = SigningCertificate.parse(parsed.certificate_der)
        except MalformedError:
            # A certificate that names nobody properly may still be meant for somebody.
            return self._occurs(parsed.certificate_der, self.identities | self.issuers)
        return (not self.identities or signer.identity in self.identities) and (
            not self.issuers or signer.issuer in self.issuers
        )

    def _matches_foreign(self, body: bytes) -> bool:
        """Rather too much than too little: who watches wants to hear of what cannot be read."""
        named = self.identities | self.issuers | self.key_ids
        return (not named or self._occurs(body, named)) and (
            not self.digests or any(_mentions(body, digest) for digest in self.digests)
        )

    @staticmethod
    def _occurs(data: bytes, texts: frozenset[str]) -> bool:
        return any(text.encode() in data for text in texts)


def _mentions(body: bytes, digest: bytes) -> bool:
    if leaf_hash(body) == digest or digest in body or digest.hex().encode() in body:
        return True
    # Without the padding: base64 of a digest inside a longer text ends otherwise.
    return encoding.base64_text(digest).rstrip("=").encode() in body
