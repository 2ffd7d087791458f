"""What a test caught of another system's proof, and keys that are always the same."""

from dataclasses import dataclass
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.policy import NamedRoot, Policy
from registry.core.evidence.roots import Roots
from registry.core.evidence.starters import starter
from registry.core.foreign.captured import Asked, Captured, PartRole
from tools.fake_vendor.intel import NOON

__all__ = ["NOON", "Caught", "believing", "key_of", "public_bytes"]


def key_of(seed: int) -> Ed25519PrivateKey:
    """The key whose private bytes are all alike."""
    return Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32))


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of a public key."""
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def believing(family: str, roots: Roots) -> Policy:
    """The starter policy of a family, with the fake vendor's roots."""
    named = tuple(NamedRoot(vendor=vendor, sha256=name) for vendor, name in sorted(roots.named))
    return msgspec.structs.replace(starter(family), roots=named)


@dataclass(frozen=True)
class Caught:
    """What an importer caught.

    Attributes:
        parts: Each part in its role.
        endorsements: What the vendor says of the hardware.
        policy: A starter that believes the fake vendor.
        nonce: What the importer had sent.
    """

    parts: tuple[tuple[PartRole, bytes], ...]
    endorsements: Endorsements
    policy: Policy
    nonce: bytes | None = None

    @property
    def captured(self) -> Captured:
        """All of it."""
        return Captured.of(self.parts, self.endorsements)

    def asked(self, at: datetime = NOON) -> Asked:
        """The usual question."""
        return Asked(at, self.policy, self.nonce)

    def without(self, *roles: PartRole) -> Captured:
        """As caught, but for some parts."""
        kept = [(role, data) for role, data in self.parts if role not in roles]
        return Captured.of(kept, self.endorsements)

    def replaced(self, role: PartRole, data: bytes) -> Captured:
        """As caught, with another part in a role."""
        kept = [(name, old) for name, old in self.parts if name is not role]
        return Captured.of([*kept, (role, data)], self.endorsements)
