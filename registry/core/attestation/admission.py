"""Admission policy: whose signatures a log takes without knowing what was signed.

Nobody's, but for what the operator's file says, one rule in a line::

    # Whom we believe about identities, and which of them we take.
    authority fulcio.pem
    identity https://accounts.example alice@example.com
    identity https://ci.example https://ci.example/acme/*
    key 6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b

Words are separated by spaces or tabs; empty lines and lines that begin with ``#`` say nothing. An
identity's issuer is compared character by character, and so is its name, but for a ``*`` at its
end, which stands for anything. A certificate counts only if an authority of the file issued it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from registry.core import encoding
from registry.core.attestation.identity import Identity
from registry.core.certificates.chain import Authority, issuing_authority
from registry.core.certificates.signing import SigningCertificate
from registry.core.digest import SHA256_SIZE
from registry.errors import ForbiddenError, MalformedError, Reason

MAX_POLICY_BYTES = 256 * 1024
"""Bytes of a policy file."""

MAX_RULES = 4096
"""Rules in a policy."""

ANYTHING = "*"
"""At the end of a name: whatever follows."""

ReadAuthority = Callable[[str], Authority]
"""Reads the file that an ``authority`` line names."""


@dataclass(frozen=True, slots=True)
class AdmissionPolicy:
    """Who is admitted. The empty policy admits nobody."""

    authorities: tuple[Authority, ...] = ()
    identities: tuple[Identity, ...] = ()
    keys: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str, read: ReadAuthority, own: tuple[Authority, ...] = ()) -> Self:
        """Read a policy; ``read`` fetches what its ``authority`` lines name.

        ``own`` is believed without a line: the authority that the same operator runs.

        Raises:
            MalformedError: ``MALFORMED_POLICY``.
        """
        authorities = [*own]
        identities: list[Identity] = []
        keys: list[str] = []
        lines = text.splitlines()
        if len(lines) > MAX_RULES:
            raise MalformedError(
                Reason.MALFORMED_POLICY, "the policy has too many lines", expected=f"{MAX_RULES}"
            )
        for number, line in enumerate(lines, 1):
            match line.replace("\t", " ").split(" "):
                case [first, *_] if not line.strip() or first.startswith("#"):
                    continue
                case words:
                    rule = [word for word in words if word]
            match rule:
                case ["authority", file]:
                    authorities.append(read(file))
                case ["identity", issuer, name]:
                    _check_name(name, number)
                    identities.append(Identity(issuer, name))
                case ["key", key_id]:
                    _check_key_id(key_id, number)
                    keys.append(key_id)
                case _:
                    raise _malformed(
                        "this is not a rule",
                        number,
                        "authority FILE, identity ISSUER NAME or key ID",
                    )
        if len({*identities}) != len(identities) or len({*keys}) != len(keys):
            raise MalformedError(Reason.MALFORMED_POLICY, "a rule stands there twice")
        if identities and not authorities:
            raise MalformedError(
                Reason.MALFORMED_POLICY,
                "nobody vouches for the identities of this policy",
                expected="a line: authority FILE",
            )
        return cls(tuple(authorities), tuple(identities), frozenset(keys))

    def admits_key(self, key_id: str) -> bool:
        """Whether signatures by this bare key are taken."""
        return key_id in self.keys

    def verify_admitted(self, certificate: SigningCertificate, at: datetime) -> None:
        """Check that signatures by the holder of this certificate are taken at a time.

        Raises:
            ForbiddenError: ``NOT_ADMITTED``.
            VerificationError: ``UNKNOWN_AUTHORITY``, ``CERTIFICATE_CHAIN`` or
                ``CERTIFICATE_TIME``.
        """
        identity = Identity.of(certificate)
        if not any(_covers(rule, identity) for rule in self.identities):
            raise ForbiddenError(
                Reason.NOT_ADMITTED,
                "this log does not take signatures of this identity",
                actual=str(identity)[:300],
                hint="ask the operator for a line in the admission policy",
            )
        issuing_authority(certificate.der, self.authorities, at)


def _covers(rule: Identity, identity: Identity) -> bool:
    if rule.issuer != identity.issuer:
        return False
    if rule.name.endswith(ANYTHING):
        return identity.name.startswith(rule.name.removesuffix(ANYTHING))
    return rule.name == identity.name


def _check_name(name: str, number: int) -> None:
    if ANYTHING in name[:-1]:
        raise _malformed("a * may only stand at the end of a name", number, "NAME or PREFIX*")


def _check_key_id(key_id: str, number: int) -> None:
    try:
        encoding.hex_bytes(key_id, SHA256_SIZE)
    except MalformedError as error:
        raise _malformed("this is not a key id", number, "64 lowercase hex digits") from error


def _malformed(what: str, number: int, expected: str) -> MalformedError:
    return MalformedError(Reason.MALFORMED_POLICY, what, where=f"line {number}", expected=expected)
