"""Targets of NVIDIA: reports and what they come in, signed XML, OCSP answers, tokens."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from registry.core.evidence.checks import CheckError
from registry.core.evidence.claims import Examination
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.nvidia import container, eat, key_set, rim
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.ocsp import Answer, check_responder
from registry.core.evidence.nvidia.rules import DEVICE_RULES, SET_RULES, TOKEN_RULES
from registry.core.evidence.nvidia.spdm import Report
from registry.core.evidence.roots import Roots
from registry.core.evidence.rules import Rules
from registry.errors import MalformedError, Reason
from tools.fake_vendor.nvidia import (
    Minted,
    Spec,
    blackwell,
    endorse,
    fitting,
    machine,
    mint,
    mint_set,
    switch,
)
from tools.fake_vendor.nvidia_certificates import authorities, boot_rom
from tools.fake_vendor.nvidia_ocsp import NOON, Said, answer
from tools.fake_vendor.nvidia_rim import mint_rim
from tools.fake_vendor.nvidia_token import KID, jwk_set
from tools.fake_vendor.nvidia_token import mint as mint_token
from tools.fuzz.elements import der
from tools.fuzz.members import members
from tools.fuzz.target import Target

_GPU: Final = mint(Spec())
_SWITCH: Final = mint(switch())
_NEWER: Final = mint(blackwell())
_SET: Final = mint_set(machine(gpus=2, switches=1))
_SUBJECT: Final = boot_rom("nvidia", "HOPPER", 1)
_ISSUER: Final = authorities("nvidia", "GH100")[2]
_MANIFESTS: Final = tuple(mint_rim(item) for item in (*fitting(Spec()), *fitting(switch())))
_TOKEN: Final = b"eyJhbGciOiJFUzM4NCJ9.e30.AAAA"
_EAT: Final = mint_token()
_UNREAD: Final = (
    Found.CONTAINER,
    Found.REPORT_LAYOUT,
    Found.REPORT_TRAILING_BYTES,
    Found.DUPLICATE_MEASUREMENT,
    Found.DUPLICATE_OPAQUE,
)


def _complete(examination: Examination, rules: Rules) -> None:
    """Whatever is wrong, every check has its result; what was not read is refused."""
    if {item.check for item in examination.checks} != set(rules.table):
        message = "a check is missing"
        raise AssertionError(message)
    if any(item.finding in _UNREAD for item in examination.checks):
        raise MalformedError(Reason.EVIDENCE_CHECK, "unreadable")


def _examined(minted: Minted, rules: Rules) -> Callable[[bytes], None]:
    def again(data: bytes) -> None:
        examination = rules.examine(data, minted.endorsements, NOON, minted.roots)
        _complete(examination, rules)

    return again


def _report(data: bytes) -> bytes:
    report = Report.parse(data)
    return report.signed + report.signature


def _container(data: bytes) -> bytes | None:
    """Our own form is written back; others only read."""
    submission = container.read(data)
    if data.startswith(b'{"chain":'):
        return container.write_device(submission.devices[0])
    if data.startswith(b'{"devices":'):
        return container.write_set(submission.devices)
    return None


def _manifest(data: bytes) -> None:
    """Read it, and judge a good device by it."""
    kept = [(role, item) for role, item in endorse(Spec()) if role is not Role.NVIDIA_RIM]
    endorsements = Endorsements.of([*kept, (Role.NVIDIA_RIM, data)])
    examination = DEVICE_RULES.examine(_GPU.evidence, endorsements, NOON, _GPU.roots)
    _complete(examination, DEVICE_RULES)
    rim.read(data)
    with suppress(CheckError):
        rim.open_signed(data)


def _answer(data: bytes) -> None:
    """Read it, and judge a good device by it."""
    endorsements = Endorsements.of([(Role.NVIDIA_OCSP, data)])
    examination = DEVICE_RULES.examine(_GPU.evidence, endorsements, NOON, _GPU.roots)
    _complete(examination, DEVICE_RULES)
    Answer.parse(data)
    with suppress(CheckError):
        check_responder(data, _ISSUER.der)


def _token(data: bytes) -> None:
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise MalformedError(Reason.EVIDENCE_CHECK, "this is not ASCII") from error
    token = eat.Token.parse(text)
    with suppress(CheckError):
        eat.verify(token, (b'{"keys":[]}', jwk_set()), Roots())


def _tokens(data: bytes) -> None:
    examination = TOKEN_RULES.examine(data, _EAT.endorsements, NOON, _EAT.roots)
    _complete(examination, TOKEN_RULES)


def _keys(data: bytes) -> None:
    """Read it, and judge a good token by it."""
    endorsements = Endorsements.of([(Role.NVIDIA_JWKS, data)])
    examination = TOKEN_RULES.examine(_EAT.evidence, endorsements, NOON, _EAT.roots)
    _complete(examination, TOKEN_RULES)
    key_set.key(data, KID)


TARGETS: Final = (
    Target(
        "nvidia-report",
        tuple(item.devices[0].report for item in (_GPU, _SWITCH, _NEWER)),
        _report,
    ),
    Target(
        "nvidia-container",
        (_GPU.evidence, _SET.evidence, _SWITCH.devices[0].report.hex().encode()),
        _container,
        (members,),
        (b'"arch"', b'"evidence"', b'"certificate"', b'"gpus"', b'"detached_eat"'),
    ),
    Target("nvidia-device", (_GPU.evidence, _NEWER.evidence), _examined(_GPU, DEVICE_RULES)),
    Target("nvidia-set", (_SET.evidence,), _examined(_SET, SET_RULES), (members,)),
    Target(
        "nvidia-manifest",
        _MANIFESTS,
        _manifest,
        words=(
            b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>",
            b"&e;",
            b"<!-- -->",
            b"<ds:Object/>",
            b"<ns0:Payload/>",
            b'URI="#x"',
            b"<![CDATA[x]]>",
            b"xmlns:ds=",
        ),
    ),
    Target(
        "nvidia-ocsp",
        (
            answer(_SUBJECT, _ISSUER),
            answer(_SUBJECT, _ISSUER, Said(status="revoked")),
            answer(_SUBJECT, _ISSUER, Said(responder="issuer")),
        ),
        _answer,
        (der,),
    ),
    Target("nvidia-token", (_TOKEN,), _token, words=(b".", b"eyJ", b"-", b"_")),
    Target("nvidia-eat", (_EAT.evidence,), _tokens, (members,), (b'"JWT"', b'"GPU-0"')),
    Target("nvidia-key-set", (jwk_set(),), _keys, (members,), (b'"EC"', b'"P-384"', b'"sig"')),
)
"""What NVIDIA's evidence and endorsements are read by."""
