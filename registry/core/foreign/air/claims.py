"""The claims of an AIR v1 receipt: a closed map, every claim of its type and size."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from registry.core.digest import SHA256_SIZE
from registry.core.evidence.checks import CheckError

PROFILE: Final = "https://spec.cyntrisec.com/air/v1"
"""The claim ``eat_profile``."""

SCHEMES: Final = ("sha256-single", "sha256-concat", "sha256-manifest")
"""How the hash of a model may be made, if the receipt says."""

NITRO: Final = "nitro-pcr"
TDX: Final = "tdx-mrtd-rtmr"

MEASUREMENT_BYTES: Final = 48
"""Bytes of a measurement: SHA-384."""

MAX_INTEGER: Final = 2**53 - 1
"""The largest number that is taken; milliseconds and mebibytes are far below."""

_NONCE: Final = (8, 64)
_CTI: Final = 16

ISS, IAT, CTI, NONCE, EAT_PROFILE = 1, 6, 7, 10, 265
MODEL_HASH, REQUEST_HASH, RESPONSE_HASH, DOCUMENT_HASH = -65539, -65540, -65541, -65542
MEASUREMENTS, SCHEME = -65543, -65549

_TEXT: Final = {ISS: 256, -65537: 256, -65538: 128, -65544: 256, -65548: 64}
_HASHES: Final = (MODEL_HASH, REQUEST_HASH, RESPONSE_HASH, DOCUMENT_HASH)
_NUMBERS: Final = (IAT, -65545, -65546, -65547)
_OPTIONAL: Final = (NONCE, SCHEME)

NAMES: Final[Mapping[int, str]] = {
    ISS: "iss",
    IAT: "iat",
    CTI: "cti",
    NONCE: "eat_nonce",
    EAT_PROFILE: "eat_profile",
    -65537: "model_id",
    -65538: "model_version",
    MODEL_HASH: "model_hash",
    REQUEST_HASH: "request_hash",
    RESPONSE_HASH: "response_hash",
    DOCUMENT_HASH: "attestation_doc_hash",
    MEASUREMENTS: "measurements",
    -65544: "policy_version",
    -65545: "sequence_number",
    -65546: "execution_time_ms",
    -65547: "memory_peak_mb",
    -65548: "security_mode",
    SCHEME: "model_hash_scheme",
}
"""Every claim that a receipt may have."""


class Found(StrEnum):
    """What may be found about the claims."""

    MISSING_CLAIM = "MISSING_CLAIM"
    UNKNOWN_CLAIM = "UNKNOWN_CLAIM"
    CLAIM_TYPE = "CLAIM_TYPE"
    CLAIM_SIZE = "CLAIM_SIZE"
    PROFILE = "PROFILE"
    ZERO_IAT = "ZERO_IAT"
    ZERO_MODEL_HASH = "ZERO_MODEL_HASH"
    MODEL_HASH_SCHEME = "MODEL_HASH_SCHEME"
    MEASUREMENT_TYPE = "MEASUREMENT_TYPE"
    MEASUREMENT_NAMES = "MEASUREMENT_NAMES"
    MEASUREMENT_SIZE = "MEASUREMENT_SIZE"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a receipt says, by the names of its claims.

    Attributes:
        said: Every claim but the measurements.
        platform: Of which kind the measurements are.
        measurements: Each by its name.
    """

    said: Mapping[str, Any]
    platform: str
    measurements: Mapping[str, bytes]

    @classmethod
    def of(cls, claims: Mapping[object, Any]) -> Self:
        """Take the claims of a receipt.

        Raises:
            CheckError: What is wrong with them.
        """
        unknown = [key for key in claims if type(key) is not int or key not in NAMES]
        if unknown:
            raise CheckError(
                Found.UNKNOWN_CLAIM,
                "a receipt has no such claim",
                actual=", ".join(ascii(key)[:40] for key in unknown[:5]),
            )
        missing = [
            name for key, name in NAMES.items() if key not in claims and key not in _OPTIONAL
        ]
        if missing:
            raise CheckError(
                Found.MISSING_CLAIM, "a receipt lacks a claim", actual=", ".join(missing)
            )
        for key, value in claims.items():
            _check(key, value)
        platform, measurements = _measurements(claims[MEASUREMENTS])
        named = {NAMES[key]: claims[key] for key in NAMES if key in claims and key != MEASUREMENTS}
        return cls(named, platform, measurements)

    def text(self) -> dict[str, str]:
        """Every claim as text, bytes in hexadecimal."""
        written = {
            name: value.hex() if isinstance(value, bytes) else str(value)
            for name, value in self.said.items()
        }
        measured = {name: value.hex() for name, value in self.measurements.items()}
        return {**written, "measurement_type": self.platform, **measured}


def _check(key: Any, value: object) -> None:
    name = NAMES[key]
    if key in _TEXT:
        text = _kind(value, str, name)
        _size(name, len(text.encode()), 1, _TEXT[key])
    elif key in _HASHES:
        _size(name, len(_kind(value, bytes, name)), SHA256_SIZE, SHA256_SIZE)
        if key == MODEL_HASH and not any(_kind(value, bytes, name)):
            raise CheckError(Found.ZERO_MODEL_HASH, "the hash of the model is zero", where=name)
    elif key in _NUMBERS:
        number = _kind(value, int, name)
        _size(name, number, 0, MAX_INTEGER)
        if key == IAT and not number:
            raise CheckError(Found.ZERO_IAT, "the receipt was made at no time", where=name)
    elif key == CTI:
        _size(name, len(_kind(value, bytes, name)), _CTI, _CTI)
    elif key == NONCE:
        _size(name, len(_kind(value, bytes, name)), *_NONCE)
    elif key == EAT_PROFILE and _kind(value, str, name) != PROFILE:
        raise CheckError(
            Found.PROFILE, "this is another profile", expected=PROFILE, actual=ascii(value)[:200]
        )
    elif key == SCHEME and _kind(value, str, name) not in SCHEMES:
        raise CheckError(
            Found.MODEL_HASH_SCHEME,
            "nobody knows how this hash of the model is made",
            expected=", ".join(SCHEMES),
            actual=ascii(value)[:80],
        )


def _measurements(value: object) -> tuple[str, Mapping[str, bytes]]:
    measured = dict(_kind(value, dict, "measurements"))
    platform = measured.pop("measurement_type", None)
    if platform not in (NITRO, TDX):
        raise CheckError(
            Found.MEASUREMENT_TYPE,
            "the measurements are of no known kind",
            expected=f"{NITRO} or {TDX}",
            actual=ascii(platform)[:80],
        )
    wanted = {"pcr0", "pcr1", "pcr2"}
    allowed = wanted | ({"pcr8"} if platform == NITRO else set())
    if not wanted <= measured.keys() <= allowed:
        raise CheckError(
            Found.MEASUREMENT_NAMES,
            f"these are not the measurements of {platform}",
            expected=", ".join(sorted(allowed)),
            actual=", ".join(ascii(name)[:20] for name in list(measured)[:8]),
        )
    for name, item in measured.items():
        if len(_kind(item, bytes, name)) != MEASUREMENT_BYTES:
            raise CheckError(
                Found.MEASUREMENT_SIZE,
                "a measurement has another size",
                where=name,
                expected=f"{MEASUREMENT_BYTES} bytes",
                actual=f"{len(item)} bytes",
            )
    return platform, measured


def _kind(value: Any, kind: type, name: str) -> Any:
    # Exactly that type: true is no 1.
    if type(value) is not kind:
        raise CheckError(
            Found.CLAIM_TYPE,
            "a claim has another type",
            where=name,
            expected=kind.__name__,
            actual=type(value).__name__,
        )
    return value


def _size(name: str, size: int, least: int, most: int) -> None:
    if not least <= size <= most:
        raise CheckError(
            Found.CLAIM_SIZE,
            "a claim is too short, too long, too small or too large",
            where=name,
            expected=f"{least} to {most}",
            actual=str(size)[:40],
        )
