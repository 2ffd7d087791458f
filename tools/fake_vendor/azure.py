"""The fake Azure: confidential VMs with a paravisor and a vTPM, on the fake AMD or the fake Intel.

::

    minted = mint(Spec(nonce=binding.tpm_nonce()))
    examine_snp(minted.evidence, minted.endorsements, NOON, minted.roots)

Every defect is a field. The vTPM's attestation key is an RSA key of its own.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from registry.core.digest import sha256
from registry.core.encoding import base64_text
from registry.core.evidence.azure.container import Submission
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.roots import Roots
from tools.fake_vendor import amd, fixed_rsa, intel

NOON: Final = amd.NOON
"""When evidence is examined if nobody says otherwise."""

Form = Literal["own", "version-1", "platform", "numbers"]
"""Our own form, and those that others publish."""


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Spec:
    """One submission; the defaults have nothing wrong.

    Attributes:
        hardware: The report or quote of the hardware; its report data is filled in.
        nonce: What the vTPM is asked with.
        pcrs: What its registers hold, by number; the rest hold zeros.
        selected: Numbers of the registers that are quoted.
        key: Name of the attestation key in the runtime data.
        signer: Name of the key that signs the quote; None is the right one.
        runtime: Edits the runtime data before the report commits to it.
        runtime_after: Edits its bytes after that.
        commitment: Edits the 64 bytes that the hardware commits to.
        td_report_data: Edits what the TDREPORT says.
        header: Fields of the paravisor's report by offset, as u32.
        hcl: Edits the finished report of the paravisor.
        quote: Edits what the vTPM signs.
        quote_after: The same, after it is signed.
        signature: Edits the vTPM's signature.
        registers: Edits the registers that are submitted.
        td_quote: Edits the TD quote that is submitted.
        form: How it is written.
    """

    hardware: amd.Spec | intel.Spec = field(default_factory=amd.Spec)
    nonce: bytes = b"challenge"
    pcrs: Mapping[int, bytes] = field(default_factory=lambda: {4: b"\x44" * 32, 7: b"\x77" * 32})
    selected: Sequence[int] = tuple(range(24))
    key: str = "vtpm"
    signer: str | None = None
    runtime: Callable[[dict[str, Any]], Any] = _same
    runtime_after: Callable[[bytes], bytes] = _same
    commitment: Callable[[bytes], bytes] = _same
    td_report_data: Callable[[bytes], bytes] = _same
    header: Mapping[int, int] = field(default_factory=dict)
    hcl: Callable[[bytes], bytes] = _same
    quote: Callable[[bytes], bytes] = _same
    quote_after: Callable[[bytes], bytes] = _same
    signature: Callable[[bytes], bytes] = _same
    registers: Callable[[tuple[bytes, ...]], tuple[bytes, ...]] = _same
    td_quote: Callable[[bytes], bytes] = _same
    form: Form = "own"


@dataclass(frozen=True)
class Minted:
    """A submission, and what is needed to judge it."""

    evidence: bytes
    submission: Submission
    endorsements: Endorsements
    roots: Roots


def mint(spec: Spec | None = None) -> Minted:
    """Make a submission and the endorsements of its hardware."""
    wanted = spec or Spec()
    data = json.dumps(wanted.runtime(runtime_data(wanted.key)), separators=(",", ":")).encode()
    commitment = wanted.commitment(sha256(data) + bytes(32))
    td_quote = certificate = b""
    if isinstance(wanted.hardware, amd.Spec):
        kind = 2
        snp = amd.mint(replace(wanted.hardware, report_data=commitment))
        report, endorsements, roots = snp.evidence, snp.endorsements, amd.roots()
        certificate = snp.key_certificate
    else:
        kind = 4
        tdx = intel.mint(replace(wanted.hardware, report_data=commitment))
        td_quote, endorsements, roots = tdx.evidence, tdx.endorsements, tdx.roots
        report = (b"\x81" + bytes(127) + wanted.td_report_data(commitment)).ljust(1024, b"\0")
    registers = tuple(wanted.pcrs.get(number, bytes(32)) for number in sorted(wanted.selected))
    signed = wanted.quote(attestation(wanted.nonce, wanted.selected, registers))
    signature = attestation_key(wanted.signer or wanted.key).sign(
        signed, padding.PKCS1v15(), hashes.SHA256()
    )
    submission = Submission(
        hcl_report=wanted.hcl(_hcl(wanted, kind, report, wanted.runtime_after(data))),
        quote=wanted.quote_after(signed),
        signature=wanted.signature(signature),
        pcrs=wanted.registers(registers),
        td_quote=wanted.td_quote(td_quote),
        key_certificate=certificate,
    )
    return Minted(write(submission, wanted.form), submission, endorsements, roots)


def attestation_key(name: str) -> rsa.RSAPrivateKey:
    """The RSA-2048 key of a vTPM with that name."""
    return fixed_rsa.private_key(f"azure {name}", 2048)


def runtime_data(key: str) -> dict[str, Any]:
    """What the paravisor says of the virtual machine."""
    numbers = attestation_key(key).public_key().public_numbers()
    modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
    return {
        "keys": [
            {
                "kid": "HCLAkPub",
                "key_ops": ["sign"],
                "kty": "RSA",
                "e": "AQAB",
                "n": url(modulus),
            },
            {"kid": "HCLEkPub", "key_ops": ["encrypt"], "kty": "RSA", "e": "AQAB", "n": "AQ"},
        ],
        "vm-configuration": {
            "console-enabled": True,
            "secure-boot": True,
            "tpm-enabled": True,
            "vmUniqueId": "26F8BC30-774E-4290-8E7A-535F3B672AEE",
        },
        "user-data": "00" * 64,
    }


def attestation(nonce: bytes, selected: Sequence[int], registers: Sequence[bytes]) -> bytes:
    """A TPMS_ATTEST over registers of SHA-256."""
    bits = sum(1 << number for number in selected)
    digest = hashlib.sha256(b"".join(registers)).digest()
    return b"".join(
        (
            bytes.fromhex("ff5443478018"),
            _sized(b"\x00\x0b" + b"\x51" * 32),
            _sized(nonce),
            struct.pack(">QIIBQ", 1_000_000, 2, 0, 1, 0x2020_0312_0012_0003),
            bytes.fromhex("00000001000b03"),
            bits.to_bytes(3, "little"),
            _sized(digest),
        )
    )


def url(data: bytes) -> str:
    """Base64url without padding."""
    return base64_text(data).translate(str.maketrans("+/", "-_", "="))


def write(submission: Submission, form: Form) -> bytes:
    """Write a submission in one of the forms."""
    if form == "own":
        return submission.to_bytes()
    if form == "numbers":
        text = base64_text(submission.key_certificate)
        lines = [text[at : at + 64] for at in range(0, len(text), 64)]
        pem = ["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""]
        old: dict[str, Any] = {
            "quote": {
                "message": list(submission.quote),
                "pcrs": [list(pcr) for pcr in submission.pcrs],
                "signature": list(submission.signature),
            },
            "report": list(submission.hcl_report),
            "vcek": "\n".join(pem),
        }
        return json.dumps(old, indent=2).encode()
    version_1: dict[str, Any] = {
        "version": 1,
        "hcl_report": url(submission.hcl_report),
        "tpm_quote": {
            "message": submission.quote.hex(),
            "pcrs": [pcr.hex() for pcr in submission.pcrs],
            "signature": submission.signature.hex(),
        },
    }
    if submission.td_quote:
        version_1["td_quote"] = url(submission.td_quote)
    else:
        version_1["vcek"] = url(submission.key_certificate)
    if form == "version-1":
        return json.dumps(version_1, indent=2).encode()
    name = "az-tdx" if submission.td_quote else "az-snp"
    return json.dumps({"platform": name, "evidence": version_1}).encode()


def _hcl(spec: Spec, kind: int, hardware: bytes, runtime: bytes) -> bytes:
    size = len(runtime)
    whole = bytearray(2600)
    struct.pack_into("<4s4I", whole, 0, b"HCLA", 2, 1236 + size, 2, 0)
    whole[32 : 32 + len(hardware)] = hardware
    struct.pack_into("<5I", whole, 1216, 20 + size, 1, kind, 1, size)
    for at, value in spec.header.items():
        struct.pack_into("<I", whole, at, value)
    whole[1236 : 1236 + size] = runtime
    return bytes(whole)


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
