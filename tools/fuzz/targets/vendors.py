"""Targets around devices: what vendors' services answer, and what a node's own device says."""

from typing import Any, Final

import cbor2

from registry.core import encoding
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.sev_snp.product import ProductLine
from registry.errors import MalformedError, Reason, RegistryError
from registry.remote.amd_kds import AMDKDS
from registry.remote.http import Answer, HTTPClient
from registry.remote.intel_pcs import IntelPCS
from registry.remote.nvidia import NVIDIAServices
from registry.remote.vendor_cache import VendorCache
from registry.shim.attester.certificate_table import endorsements
from registry.shim.attester.guest_agent import Piece, Reply, read_reply
from registry.shim.attester.nsm import NitroNSM
from registry.shim.attester.tpm import TPM
from tools.fake_vendor import nvidia
from tools.fake_vendor.nitro import NOON, issue, mint, revocation_lists
from tools.fake_vendor.nvidia_token import jwk_set
from tools.fuzz.edits import inside_base64, lines
from tools.fuzz.elements import cbor, der
from tools.fuzz.members import members
from tools.fuzz.target import Target

_CHAIN: Final = issue(NOON)
_CRL: Final = revocation_lists(_CHAIN, NOON)["root"]
_TCB: Final = b'{"tcbInfo":{"id":"TDX","nextUpdate":"2026-07-01T00:00:00Z"},"signature":"00"}'
_RIM: Final = b'{"id":"RIM","rim":"PFNvZnR3YXJlSWRlbnRpdHkvPg==","sha256":"x"}'
_OCSP: Final = nvidia.mint().endorsements.all(Role.NVIDIA_OCSP)[0]
_URL: Final = "http://127.0.0.1:1"


class _Says(HTTPClient):
    """Answers everything with the same bytes, and asks nobody."""

    def __init__(self, body: bytes, chain: bytes = b"") -> None:  # no connections to be made
        self._answer = Answer(_URL, 200, {"tcb-info-issuer-chain": chain.decode("latin-1")}, body)

    def get(self, *_: Any, **__: Any) -> Answer:
        return self._answer

    def post(self, *_: Any, **__: Any) -> Answer:
        return self._answer


def _cache() -> VendorCache:
    return VendorCache(lambda: NOON)


def _tcb_info(data: bytes) -> None:
    chain, _, body = data.partition(b"\0")
    IntelPCS(_Says(body, chain), _cache(), _URL, _URL).tcb_info(bytes(6), tdx=True)


def _crl(data: bytes) -> None:
    AMDKDS(_Says(data), _cache(), _URL).crl(ProductLine.MILAN, "vcek")


def _rim(data: bytes) -> None:
    NVIDIAServices(_Says(data), _cache(), _URL, _URL, _URL).rim("RIM")


def _ocsp(data: bytes) -> None:
    client = NVIDIAServices(_Says(data), _cache(), _URL, _URL, _URL)
    client.ocsp(_CHAIN[1].der, _CHAIN[0].der)


def _jwks(data: bytes) -> None:
    NVIDIAServices(_Says(data), _cache(), _URL, _URL, _URL).jwks()


class _Module:
    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def exchange(self, _request: bytes) -> bytes:
        return self._answer


def _nsm(data: bytes) -> None:
    NitroNSM(_Module(data)).evidence(bytes(64), b"", b"")


class _Chip:
    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def exchange(self, _command: bytes) -> bytes:
        return self._answer


def _tpm(data: bytes) -> None:
    """Read it as registers and as a quote; to a fuzzer, one of them is enough."""
    tpm = TPM(_Chip(data), "tpm", seconds=0)
    try:
        tpm.registers((0,))
    except RegistryError:
        tpm.quote(1, b"", (0,))


def _table(data: bytes) -> None:
    """Read a table; to a fuzzer, one with nothing in it was not read."""
    if not Endorsements.of(endorsements(data)).items:
        raise MalformedError(Reason.MALFORMED_FIELD, "nothing in it")


def _agent(data: bytes) -> bytes:
    read = read_reply(data, "agent")
    pieces = tuple(
        Piece(role=role, data=encoding.base64_text(item)) for role, item in read.endorsements
    )
    evidence = encoding.base64_text(read.evidence)
    return encoding.write_json(Reply(family=read.family, evidence=evidence, endorsements=pieces))


_REPLY: Final = encoding.write_json(
    Reply(
        family=Family.AWS_NITRO,
        evidence="AAEC",
        endorsements=(Piece(role=Role.NITRO_CRL, data="AA=="),),
    )
)
_REGISTER: Final = bytes.fromhex(
    "80010000003e000000000000000100000001000b03010000000000010020"
) + bytes(32)
_QUOTE: Final = bytes.fromhex("80020000001f000000000000000c0002ffff0014000b0002abcd0000010000")
_VCEK: Final = bytes.fromhex("63da758de6644564adc5f4b93be8accd")
_TABLE: Final = (
    _VCEK + (48).to_bytes(4, "little") + len(_CRL).to_bytes(4, "little") + bytes(24) + _CRL
)

TARGETS: Final = (
    Target(
        "vendor-tcb-info",
        (_CHAIN[0].pem.replace(b"\n", b"%0A") + b"\0" + _TCB,),
        _tcb_info,
        (members, lines),
        (b"\0", b"%", b"%00", b"-----BEGIN CERTIFICATE-----", b"9999-12-31T23:59:59Z", b"+23:59"),
    ),
    Target("vendor-crl", (_CRL,), _crl, (der,)),
    Target("vendor-rim", (_RIM,), _rim, (members, inside_base64(lines))),
    Target("vendor-ocsp", (_OCSP,), _ocsp, (der,)),
    Target("vendor-key-set", (jwk_set(),), _jwks, (members,)),
    Target(
        "nsm-answer",
        (
            cbor2.dumps({"Attestation": {"document": mint().evidence}}),
            b"\xbf" + cbor2.dumps({"Attestation": {"document": b"x"}})[1:] + b"\xff",
        ),
        _nsm,
        (cbor,),
        (b"Error", b"\xbf", b"\xff"),
    ),
    Target("tpm-answer", (_REGISTER, _QUOTE), _tpm, words=(b"\x00\x0b", b"\xff" * 4)),
    Target("snp-certificate-table", (_TABLE,), _table, (), (bytes(16), _VCEK)),
    Target("guest-agent-answer", (_REPLY,), _agent, (members,), (b"nitro-crl", b"aws-nitro")),
)
"""Whatever comes from a service or a device that we ask."""
