"""Examination of a token alone: what NVIDIA's own verifier made of devices that nobody here saw.

The service answers with a detached EAT: an overall token, and one for each device, whose digests
the overall one states. What is checked is that it is the service's word, when it holds, and that it
speaks well of every device. The reports themselves are not at hand, which a policy weighs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from registry.core.digest import sha256
from registry.core.encoding import hex_bytes
from registry.core.evidence.checks import CheckError, Finding, Ledger, Severity
from registry.core.evidence.claims import ClaimValue, Examination, Family, check_size, evidence_id
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.nvidia import container, eat
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.tables import CHECKS
from registry.core.evidence.roots import Roots
from registry.core.evidence.validity import Validity, appraised_at
from registry.errors import MalformedError

NONCE_BYTES: Final = 32
"""Bytes of ``eat_nonce``, which a token writes in hexadecimal."""

_LAST_SECOND = 253_402_300_799
_NO_DEBUG = "disabled"
_Text = Annotated[str, msgspec.Meta(max_length=1024)]
_Second = Annotated[int, msgspec.Meta(ge=0, le=_LAST_SECOND)]
_Digest = tuple[Literal["DIGEST"], tuple[Literal["SHA-256", "SHA256"], _Text]]

_MUST_HOLD: Final = (
    "x-nvidia-gpu-arch-check",
    "x-nvidia-gpu-attestation-report-cert-chain-fwid-match",
    "x-nvidia-gpu-attestation-report-nonce-match",
    "x-nvidia-gpu-attestation-report-parsed",
    "x-nvidia-gpu-attestation-report-signature-verified",
    "x-nvidia-gpu-driver-rim-signature-verified",
    "x-nvidia-gpu-driver-rim-version-match",
    "x-nvidia-gpu-vbios-index-no-conflict",
    "x-nvidia-gpu-vbios-rim-signature-verified",
    "x-nvidia-gpu-vbios-rim-version-match",
    "x-nvidia-switch-arch-check",
    "x-nvidia-switch-attestation-report-nonce-match",
    "x-nvidia-switch-attestation-report-parsed",
    "x-nvidia-switch-attestation-report-signature-verified",
    "x-nvidia-switch-bios-rim-signature-verified",
    "x-nvidia-switch-bios-rim-version-match",
)
"""What a device's token must not deny, where it says it."""


class _Common(msgspec.Struct, frozen=True):
    """What every token says; other members are not read."""

    iss: _Text
    iat: _Second
    exp: _Second
    eat_nonce: _Text
    nbf: _Second | msgspec.UnsetType = msgspec.UNSET

    @property
    def window(self) -> Validity:
        """From when on, and until before when it counts (RFC 7519 §4.1.4 and §4.1.5)."""
        start = self.iat if isinstance(self.nbf, msgspec.UnsetType) else max(self.iat, self.nbf)
        return Validity(start, self.exp - 1)


_T = TypeVar("_T", bound=_Common)


class _Overall(_Common, frozen=True):
    result: bool = msgspec.field(name="x-nvidia-overall-att-result", default=False)
    submods: dict[str, _Digest] = msgspec.field(default_factory=dict)


class _Device(_Common, frozen=True):
    measres: _Text = ""
    dbgstat: _Text | None = None
    hwmodel: _Text = ""
    driver: _Text | None = msgspec.field(name="x-nvidia-gpu-driver-version", default=None)
    vbios: _Text | None = msgspec.field(name="x-nvidia-gpu-vbios-version", default=None)
    switch_bios: _Text | None = msgspec.field(name="x-nvidia-switch-bios-version", default=None)


@dataclass(slots=True)
class _Examined:
    """What became of the tokens; filled in as the checks go on.

    Attributes:
        key_sets: Those that are at hand.
        roots: Which keys in them count.
        overall: The overall token; None if it could not be read, or is not signed at all.
        used: SHA-256 of each key set that was used.
        keys: SHA-256 of each key that signed.
    """

    ledger: Ledger
    key_sets: tuple[bytes, ...]
    roots: Roots
    overall: eat.Token | None = None
    claims: dict[str, ClaimValue] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


def examine_token(
    evidence: bytes, endorsements: Endorsements, at: datetime, roots: Roots
) -> Examination:
    """Examine a token, or a detached EAT.

    Raises:
        MalformedError: ``BAD_TIME``.
        LimitExceededError: ``EVIDENCE_SIZE``.
    """
    check_size(evidence)
    moment = appraised_at(at)
    ledger = Ledger(CHECKS, moment, evidence)
    examined = _Examined(ledger, endorsements.all(Role.NVIDIA_JWKS), roots)
    tokens: container.Tokens | None = None
    with ledger.check("G1", evidence):
        tokens = container.read(evidence).tokens
        if tokens is None:
            raise CheckError(Found.CONTAINER, "this is a report of devices, no token about them")
    if tokens is not None:
        _examine(examined, tokens)
        for name in CHECKS:
            if name not in ("G1", "G12"):
                ledger.skip(name, Finding.NOT_APPLICABLE, "the devices' own reports are not here")
    overall = examined.overall
    return Examination(
        family=Family.NVIDIA_EAT,
        at=moment,
        evidence_id=(
            None if overall is None else evidence_id(Family.NVIDIA_EAT, (overall.signed,))
        ),
        claims=examined.claims,
        checks=ledger.results(),
        window=ledger.window,
        endorsements=tuple(sorted(examined.used)),
        configured_roots=tuple(sorted(examined.keys)),
    )


def _examine(examined: _Examined, tokens: container.Tokens) -> None:
    ledger = examined.ledger
    overall: _Overall | None = None
    with ledger.check("G12", tokens.overall.encode("ascii", "replace"), *examined.key_sets):
        token = eat.Token.parse(tokens.overall)
        eat.check_header(token)
        # From here on it has a name: what its signature is over, which states all digests.
        examined.overall = token
        said = _read(token, _Overall)
        examined.claims |= _of_all(said, len(tokens.devices))
        _verify(examined, token)
        ledger.within("the token", said.window)
        _check_digests(said.submods, tokens.devices)
        if not said.result:
            raise _refuses("the verifier does not vouch for the devices")
        overall = said
    if overall is None:
        return
    devices = {
        name: device
        for name, text in tokens.devices.items()
        if (device := _device(examined, name, text, overall)) is not None
    }
    if len(devices) < len(tokens.devices):
        return
    examined.claims |= _of_devices(tuple(devices.values()))
    text = "the reports were seen by NVIDIA's verifier, and by nobody here"
    ledger.find("G3", Found.TOKEN_ONLY, text)
    for name, device in devices.items():
        if device.dbgstat not in (None, _NO_DEBUG):
            ledger.find("G9", Found.TOKEN_DEBUG, f"{name}: dbgstat is {str(device.dbgstat)[:80]}")


def _device(examined: _Examined, name: str, text: str, overall: _Overall) -> _Device | None:
    """What the token of one device says; None if it fails."""
    with examined.ledger.check("G12", text.encode("ascii", "replace")):
        token = eat.Token.parse(text)
        said = _read(token, _Device)
        _verify(examined, token)
        examined.ledger.within(f"the token of {name[:80]}", said.window)
        if (said.iss, said.eat_nonce) != (overall.iss, overall.eat_nonce):
            raise CheckError(
                Found.TOKEN_NONCE,
                f"the token of {name[:80]} is of another issuer, or for another nonce",
                severity=Severity.IDENTITY,
                expected=overall.eat_nonce,
                actual=said.eat_nonce,
            )
        denied = [claim for claim in _MUST_HOLD if token.claims.get(claim, True) is not True]
        if said.measres.lower() != "success" or denied:
            raise _refuses(f"the token of {name[:80]} denies", ", ".join(denied) or "measres")
        return said
    return None


def _verify(examined: _Examined, token: eat.Token) -> None:
    """Check that a key that counts signed a token."""
    spki, used = eat.verify(token, examined.key_sets, examined.roots)
    examined.keys.add(sha256(spki).hex())
    examined.used.add(sha256(used).hex())


def _read(token: eat.Token, kind: type[_T]) -> _T:
    """What a token says; nobody vouches for it yet."""
    try:
        said = msgspec.convert(token.claims, kind)
        hex_bytes(said.eat_nonce, NONCE_BYTES)
    except (msgspec.ValidationError, MalformedError) as error:
        raise CheckError(
            Found.TOKEN_CLAIMS, "a claim of the token cannot be read", actual=str(error)[:200]
        ) from error
    return said


def _check_digests(stated: Mapping[str, _Digest], devices: Mapping[str, str]) -> None:
    """The overall token must state the digest of every device's token, and of no other."""
    lacking = sorted(set(stated) - set(devices))
    if lacking or not stated:
        raise CheckError(
            Found.TOKEN_DIGEST,
            "the tokens of the single devices are not at hand",
            severity=Severity.TIME,
            actual=", ".join(lacking)[:200] or "none is named",
        )
    for name, text in devices.items():
        found = sha256(text.encode("utf-8")).hex()
        if name not in stated or stated[name][1][1] != found:
            raise CheckError(
                Found.TOKEN_DIGEST,
                f"the token of {name[:80]} is not the one that the overall token names",
                expected=stated[name][1][1] if name in stated else "none of this name",
                actual=found,
            )


def _refuses(what: str, actual: str = "") -> CheckError:
    return CheckError(Found.TOKEN_REFUSES, what, severity=Severity.IDENTITY, actual=actual)


def _of_all(said: _Overall, devices: int) -> dict[str, ClaimValue]:
    return {
        "issuer": said.iss,
        "nonce": bytes.fromhex(said.eat_nonce),
        "device_count": devices,
        "issued_at": said.iat,
    }


def _of_devices(devices: tuple[_Device, ...]) -> dict[str, ClaimValue]:
    """What the devices say together; where they differ, all values, sorted."""
    claims: dict[str, ClaimValue] = {}
    for name, values in (
        ("hardware_model", {item.hwmodel for item in devices}),
        ("driver_version", {item.driver for item in devices}),
        ("vbios_version", {item.vbios or item.switch_bios for item in devices}),
    ):
        written = sorted(value for value in values if value)
        if written:
            claims[name] = written[0] if len(written) == 1 else tuple(written)
    return claims
