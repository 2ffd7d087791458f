"""Certificates of the fake AMD, put together byte by byte.

No builder makes the serial number 0 that all endorsement keys have, or an extension twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from registry.core.evidence.sev_snp.certificate import PSS_SHA384
from registry.core.evidence.sev_snp.product import ProductLine
from tools.fake_vendor import fixed_rsa, pki

# RFC 5280 §4.2.1.9 and §4.2.1.3, critical as AMD writes them.
_AUTHORITY = bytes.fromhex("300f0603551d130101ff040530030101ff")
_LAST_AUTHORITY = bytes.fromhex("30120603551d130101ff040830060101ff020100")
_SIGNS = bytes.fromhex("300e0603551d0f0101ff040403020204")
_SIGNS_LISTS_TOO = bytes.fromhex("300e0603551d0f0101ff040403020106")


@dataclass(frozen=True)
class Authorities:
    """The certificates of one product line."""

    ark: pki.Holder
    ask: pki.Holder
    asvk: pki.Holder

    def chain(self, *, vlek: bool = False) -> bytes:
        """PEM as the key distribution service hands it out: the signer, then the root."""
        return (self.asvk if vlek else self.ask).pem + self.ark.pem


def authorities(line: ProductLine, *, forged: bool = False) -> Authorities:
    """The authorities of a line; the forged ones have the same names and other keys."""
    return _authorities(line, forged)


@cache
def _authorities(line: ProductLine, forged: bool) -> Authorities:  # noqa: FBT001 - one cache entry
    root_key, signer_key = authority_keys(forged=forged)
    root, life = amd_name(f"ARK-{line}"), pki.FOREVER

    def issued(
        subject: x509.Name, key: rsa.RSAPrivateKey, serial: int, extensions: Sequence[bytes]
    ) -> pki.Holder:
        data = certificate(
            serial, root, (pki.START, life), subject, key.public_key(), extensions, root_key
        )
        return pki.Holder(x509.load_der_x509_certificate(data), key)

    return Authorities(
        ark=issued(root, root_key, 0x10000, (_AUTHORITY, _SIGNS_LISTS_TOO)),
        ask=issued(amd_name(f"SEV-{line}"), signer_key, 0x10001, (_LAST_AUTHORITY, _SIGNS)),
        asvk=issued(amd_name(f"SEV-VLEK-{line}"), signer_key, 0x10101, (_LAST_AUTHORITY, _SIGNS)),
    )


def authority_keys(*, forged: bool) -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    """Keys of the ARK and of its signers: two serve all lines, and the forger."""
    keys = fixed_rsa.private_key("amd root", 4096), fixed_rsa.private_key("amd signer", 4096)
    return keys[::-1] if forged else keys


def integer(value: int) -> bytes:
    """A DER INTEGER."""
    return tlv(0x02, value.to_bytes((value.bit_length() + 8) // 8, "big", signed=True))


def text(value: str) -> bytes:
    """A DER IA5String."""
    return tlv(0x16, value.encode("ascii"))


def certificate(  # noqa: PLR0917 - the fields of a certificate, in their order
    serial: int,
    issuer: x509.Name,
    period: tuple[datetime, timedelta],
    subject: x509.Name,
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    extensions: Sequence[bytes],
    by: rsa.RSAPrivateKey,
) -> bytes:
    """A certificate, signed as AMD signs."""
    start, life = period
    signed = sequence(
        tlv(0xA0, integer(2)),
        integer(serial),
        PSS_SHA384,
        issuer.public_bytes(),
        sequence(_time(start), _time(start + life)),
        subject.public_bytes(),
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        tlv(0xA3, sequence(*extensions)),
    )
    return sequence(signed, PSS_SHA384, tlv(0x03, b"\0" + _signed(signed, by)))


@lru_cache(maxsize=256)
def _signed(signed: bytes, by: rsa.RSAPrivateKey) -> bytes:
    """A signature by RSA-4096 takes 50 ms here, and most reports share a certificate."""
    return fixed_rsa.sign_pss_sha384(by, signed)


def amd_name(common: str) -> x509.Name:
    """A distinguished name of AMD's."""
    return pki.name(common, O="Advanced Micro Devices")


def _time(moment: datetime) -> bytes:
    return tlv(0x17, moment.strftime("%y%m%d%H%M%SZ").encode("ascii"))


def sequence(*parts: bytes) -> bytes:
    """A DER SEQUENCE."""
    return tlv(0x30, b"".join(parts))


def tlv(tag: int, content: bytes) -> bytes:
    """A DER element."""
    size = len(content)
    if size < 0x80:  # noqa: PLR2004 - X.690 §8.1.3.4: the short form
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
