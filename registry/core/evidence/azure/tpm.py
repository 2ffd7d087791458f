"""Quotes of a TPM 2.0 (TPMS_ATTEST): which registers, which nonce, signed by which key.

Big-endian, as the TCG writes it (Trusted Platform Module Library, part 2, §10.12). One selection of
SHA-256 registers, RSASSA-PKCS1-v1_5 with SHA-256: what Azure's vTPM makes, and nothing else.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from registry.core.digest import SHA256_SIZE, sha256
from registry.core.evidence.azure.findings import AzureFinding
from registry.core.evidence.checks import CheckError, Severity

MAX_QUOTE_BYTES: Final = 512
"""Bytes of a quote; real ones have 113 to 161."""

MAX_NONCE_BYTES: Final = 64
"""Bytes of the nonce; the firmware takes 50."""

PCR_COUNT: Final = 24
"""Registers of a TPM."""

_GENERATED = bytes.fromhex("ff544347")
_QUOTE = bytes.fromhex("8018")
_ONE_SHA256_SELECTION = bytes.fromhex("00000001000b03")


@dataclass(frozen=True, slots=True)
class TPMQuote:
    """What a TPM says.

    Attributes:
        signed: The bytes under the signature.
        signer: The qualified name of the key.
        nonce: What the TPM was asked with; may be empty.
        clock: Milliseconds that the TPM has run.
        resets: How often it was reset.
        restarts: How often it was restarted since.
        safe: Whether its clock never ran backwards.
        firmware: Version of its firmware.
        pcrs: Numbers of the registers that are quoted, ascending.
        digest: SHA-256 of the registers, one after the other.
    """

    signed: bytes
    signer: bytes
    nonce: bytes
    clock: int
    resets: int
    restarts: int
    safe: bool
    firmware: int
    pcrs: tuple[int, ...]
    digest: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a quote.

        Raises:
            CheckError: ``TPM_QUOTE_MALFORMED``.
        """
        if len(data) > MAX_QUOTE_BYTES:
            raise _malformed("its size")
        reader = _Reader(data)
        if reader.take(4) != _GENERATED or reader.take(2) != _QUOTE:
            raise _malformed("it is no quote of a TPM")
        signer, nonce = reader.sized(), reader.sized()
        if len(nonce) > MAX_NONCE_BYTES:
            raise _malformed("the nonce is too long")
        clock, resets, restarts = reader.number(8), reader.number(4), reader.number(4)
        safe, firmware = reader.number(1), reader.number(8)
        if safe > 1:
            raise _malformed("the clock is neither safe nor unsafe")
        if reader.take(7) != _ONE_SHA256_SELECTION:
            raise _malformed("it does not select registers of SHA-256, and only those")
        selected = int.from_bytes(reader.take(3), "little")
        digest = reader.sized()
        if len(digest) != SHA256_SIZE or not reader.ended:
            raise _malformed("its end")
        return cls(
            signed=data,
            signer=signer,
            nonce=nonce,
            clock=clock,
            resets=resets,
            restarts=restarts,
            safe=safe == 1,
            firmware=firmware,
            pcrs=tuple(number for number in range(PCR_COUNT) if selected >> number & 1),
            digest=digest,
        )

    def verify(self, key: rsa.RSAPublicKey, signature: bytes) -> None:
        """Check that the key signed the quote.

        Raises:
            CheckError: ``TPM_QUOTE_SIGNATURE``.
        """
        try:
            key.verify(signature, self.signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature as error:
            raise CheckError(
                AzureFinding.TPM_QUOTE_SIGNATURE,
                "the quote is not signed by the vTPM's attestation key",
            ) from error

    def check_registers(self, values: Sequence[bytes]) -> dict[int, bytes]:
        """The quoted registers by number.

        Args:
            values: What they are said to hold, in the order of their numbers.

        Raises:
            CheckError: ``PCR_DIGEST_MISMATCH``.
        """
        if len(values) != len(self.pcrs) or not hmac.compare_digest(
            sha256(b"".join(values)), self.digest
        ):
            raise CheckError(
                AzureFinding.PCR_DIGEST_MISMATCH,
                "the registers are not those that the TPM quotes",
                severity=Severity.IDENTITY,
                expected=f"{len(self.pcrs)} registers with the digest {self.digest.hex()}",
                actual=f"{len(values)} registers with another",
            )
        return dict(zip(self.pcrs, values, strict=True))


@dataclass(slots=True)
class _Reader:
    """Takes bytes from the front."""

    data: bytes
    at: int = 0

    def take(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + size]
        if len(piece) != size:
            raise _malformed("it is cut off")
        self.at += size
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        return self.take(self.number(2))

    @property
    def ended(self) -> bool:
        return self.at == len(self.data)


def _malformed(what: str) -> CheckError:
    return CheckError(
        AzureFinding.TPM_QUOTE_MALFORMED, "this is not a quote of a vTPM", actual=what
    )
