"""Intel quotes of the fake vendor: SGX v3, TDX v4, SGX and TDX v5, collateral, and any defect.

::

    minted = mint(Spec(report_data=commitment))
    examine(minted.evidence, minted.endorsements, NOON, minted.roots)

What is not stated is as with a real platform that is up to date. Keys come from names: another root
is another name.
"""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from registry.core.digest import sha256
from registry.core.encoding import time_text
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.intel.quote import BODY_BYTES, INTEL_QE_VENDOR, Body
from registry.core.evidence.roots import Roots, Vendor
from tools.fake_vendor import pki
from tools.fake_vendor.pki import Holder

NOON: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""When evidence is examined if nobody says otherwise."""

ORDER_P256: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""How many points the curve has: s and this number minus s are both good."""

FMSPC: Final = "90c06f000000"
SGX_EXTENSION: Final = "1.2.840.113741.1.13.1"
QE_MRSIGNER: Final = {
    "QE": "8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF",
    "TD_QE": "DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5",
}

SGX_FIELDS: Final = {
    "cpu_svn": 0,
    "misc_select": 16,
    "cet": 20,
    "reserved": 21,
    "isv_ext_prod_id": 32,
    "attributes": 48,
    "mr_enclave": 64,
    "mr_signer": 128,
    "config_id": 192,
    "isv_prod_id": 256,
    "isv_svn": 258,
    "config_svn": 260,
    "isv_family_id": 304,
    "report_data": 320,
}
TD_FIELDS: Final = {
    "tee_tcb_svn": 0,
    "mr_seam": 16,
    "mr_signer_seam": 64,
    "seam_attributes": 112,
    "td_attributes": 120,
    "xfam": 128,
    "mr_td": 136,
    "mr_config_id": 184,
    "mr_owner": 232,
    "mr_owner_config": 280,
    "rtmr0": 328,
    "rtmr1": 376,
    "rtmr2": 424,
    "rtmr3": 472,
    "report_data": 520,
    "tee_tcb_svn_2": 584,
    "mr_service_td": 600,
}
"""Where each field of a body begins."""

_WINDOWS: Final = {
    "root": (pki.START, pki.START + pki.FOREVER),
    "ca": (pki.START, pki.START + timedelta(days=15 * 365)),
    "pck": (pki.START, pki.START + timedelta(days=7 * 365)),
    "tcb_signer": (pki.START, pki.START + timedelta(days=7 * 365)),
}


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Revoked:
    """An entry of a CRL.

    Attributes:
        what: ``pck``, ``ca`` or ``tcb_signer``.
        date: When.
        reason: Why, if the list says so.
    """

    what: str
    date: datetime
    reason: x509.ReasonFlags | None = None


@dataclass(frozen=True)
class Spec:
    """One quote and its collateral.

    Attributes:
        at: When all of it is current.
        version: 3, 4 or 5.
        body: What is attested; by default an enclave in version 3, else a trust domain.
        root: Which of the fake vendor's roots.
        fields: Bytes of the body by field, over the defaults.
        header: Edits the header.
        descriptor: The descriptor of version 5, if another one.
        report_data: What the attester commits to.
        qe: Bytes of the quoting enclave's report by field.
        auth_data: What else the quoting enclave commits to.
        qe_report_data: Edits what it commits to.
        attestation_key: Edits the key in the quote.
        signature: Edits the quote's signature.
        qe_signature: Edits the signature of the quoting enclave's report.
        certification: The type of the inner certification data.
        wrapping: The type of the outer one, in versions 4 and 5.
        chain: Edits the PEM certificates: PCK, authority, root.
        tail: What follows the signature data.
        quote: Edits the finished quote.
        pck_name: The common name of the PCK certificate.
        authority: ``Platform`` or ``Processor``.
        authority_name: The authority's common name, if another one.
        path_length: How many authorities may follow the root.
        extension: Edits the members of the PCK's extension: a list of (number, DER).
        tcb: Edits those of its TCB.
        sgx_extension: The extension's object id.
        components: The platform's SGX SVNs.
        pce_svn: Its PCE SVN.
        pce_id: Its PCE id, in hexadecimal.
        fmspc: Its FMSPC, in hexadecimal.
        tcb_info: Edits the TCB info before it is signed.
        tcb_text: Edits the text of the TCB info before it is signed.
        tcb_answer: Edits the answer after that.
        tcb_signer: Who signs it: a name, or ``pck`` or ``ca`` for those.
        qe_identity: As ``tcb_info``.
        qe_text: As ``tcb_text``.
        qe_answer: As ``tcb_answer``.
        qe_signer: As ``tcb_signer``.
        signer_name: The common name of those who sign collateral.
        revoked: Entries of the CRLs.
        pck_crl_by: Who signs the PCK CRL: ``ca``, ``root``, ``other`` (an authority of the same
            name with another key) or the other authority's name.
        windows: Since and until when: ``root``, ``ca``, ``pck``, ``tcb_signer``, ``tcb_info``,
            ``qe_identity``, ``root_crl``, ``pck_crl``; seconds count.
        endorsements: Edits what is handed in.
    """

    at: datetime = NOON
    version: int = 4
    body: Body | None = None
    root: str = "intel"
    fields: Mapping[str, bytes] = field(default_factory=dict)
    header: Callable[[bytes], bytes] = _same
    descriptor: bytes | None = None
    report_data: bytes = bytes(64)
    qe: Mapping[str, bytes] = field(default_factory=dict)
    auth_data: bytes = bytes(range(32))
    qe_report_data: Callable[[bytes], bytes] = _same
    attestation_key: Callable[[bytes], bytes] = _same
    signature: Callable[[bytes], bytes] = _same
    qe_signature: Callable[[bytes], bytes] = _same
    certification: int = 5
    wrapping: int = 6
    chain: Callable[[list[bytes]], list[bytes]] = _same
    tail: bytes = b""
    quote: Callable[[bytes], bytes] = _same
    pck_name: str = "Intel SGX PCK Certificate"
    authority: str = "Platform"
    authority_name: str = ""
    path_length: int | None = 1
    extension: Callable[[list[tuple[int, bytes]]], list[tuple[int, bytes]]] = _same
    tcb: Callable[[list[tuple[int, bytes]]], list[tuple[int, bytes]]] = _same
    sgx_extension: str = SGX_EXTENSION
    components: Sequence[int] = (3, 3, 2, 2, 4, 1, 0, 5, *(0,) * 8)
    pce_svn: int = 13
    pce_id: str = "0000"
    fmspc: str = FMSPC
    tcb_info: Callable[[dict[str, Any]], Any] = _same
    tcb_text: Callable[[bytes], bytes] = _same
    tcb_answer: Callable[[bytes], bytes] = _same
    tcb_signer: str = "tcb_signer"
    qe_identity: Callable[[dict[str, Any]], Any] = _same
    qe_text: Callable[[bytes], bytes] = _same
    qe_answer: Callable[[bytes], bytes] = _same
    qe_signer: str = "tcb_signer"
    signer_name: str = "Intel SGX TCB Signing"
    revoked: Sequence[Revoked] = ()
    pck_crl_by: str = "ca"
    windows: Mapping[str, tuple[datetime, datetime]] = field(default_factory=dict)
    endorsements: Callable[[dict[Role, bytes]], dict[Role, bytes]] = _same

    @property
    def kind(self) -> Body:
        """What is attested."""
        if self.body is not None:
            return self.body
        return {3: Body.ENCLAVE, 4: Body.TD_1_0}.get(self.version, Body.TD_1_5)

    @property
    def tdx(self) -> bool:
        """Whether that is a trust domain."""
        return self.kind is not Body.ENCLAVE

    def window(self, name: str) -> tuple[datetime, datetime]:
        """Since and until when something holds."""
        current = (self.at - timedelta(days=10), self.at + timedelta(days=20))
        return self.windows.get(name, _WINDOWS.get(name, current))


@dataclass(frozen=True)
class Minted:
    """A quote, and what is needed to judge it.

    Attributes:
        evidence: The quote.
        roles: The collateral.
        roots: With the fake vendor's root named.
        root: The root certificate as DER.
        pck_chain: PEM.
    """

    evidence: bytes
    roles: Mapping[Role, bytes]
    roots: Roots
    root: bytes
    pck_chain: bytes

    @property
    def endorsements(self) -> Endorsements:
        """All of the collateral."""
        return Endorsements.of(self.roles.items())


@lru_cache(maxsize=256)
def _issued(spec: "_Issue") -> Holder:
    start, end = spec.window
    key = pki.p256(spec.key)
    return pki.issue(
        pki.name(spec.common, C="US", O="Fake Vendor"),
        key,
        spec.issuer,
        start=start,
        life=end - start,
        ca=spec.ca,
        path_length=spec.path_length,
        extensions=[
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            *(
                (x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), False)
                for oid, value in spec.extensions
            ),
        ],
    )


@dataclass(frozen=True)
class _Issue:
    common: str
    key: str
    issuer: Holder | None
    window: tuple[datetime, datetime]
    ca: bool
    path_length: int | None = None
    extensions: tuple[tuple[str, bytes], ...] = ()


def mint(spec: Spec | None = None) -> Minted:
    """Make a quote and its collateral."""
    spec = spec or Spec()
    people = _people(spec)
    chain = [people[name].pem for name in ("pck", "ca", "root")]
    pck_chain = b"".join(spec.chain(list(chain)))
    roles = {
        Role.INTEL_TCB_INFO: _answer(spec, people, tcb=True),
        Role.INTEL_TCB_CHAIN: people[spec.tcb_signer].pem + people["root"].pem,
        Role.INTEL_QE_IDENTITY: _answer(spec, people, tcb=False),
        Role.INTEL_QE_CHAIN: people[spec.qe_signer].pem + people["root"].pem,
        Role.INTEL_PCK_CRL_CHAIN: chain[1] + chain[2],
        Role.INTEL_ROOT_CRL: _crl(spec, people, "root_crl", "root", ("ca", "tcb_signer")),
        Role.INTEL_PCK_CRL: _crl(spec, people, "pck_crl", spec.pck_crl_by, ("pck",)),
    }
    root = people["root"].der
    roots = Roots.also([(Vendor.INTEL_SGX, sha256(root).hex())])
    evidence = spec.quote(_quote(spec, people, pck_chain))
    return Minted(evidence, spec.endorsements(roles), roots, root, pck_chain)


def _people(spec: Spec) -> dict[str, Holder]:
    """Everybody with a certificate, by name."""
    authority = spec.authority_name or f"Intel SGX PCK {spec.authority} CA"
    other = "Processor" if spec.authority == "Platform" else "Platform"
    window = spec.window("ca")
    root = _issued(
        _Issue(
            "Intel SGX Root CA", f"{spec.root} root", None, spec.window("root"), ca=True,
            path_length=spec.path_length,
        )
    )  # fmt: skip
    ca = _issued(
        _Issue(authority, f"{spec.root} {authority}", root, window, ca=True, path_length=0)
    )
    pck = _issued(
        _Issue(
            spec.pck_name,
            f"{spec.root} pck",
            ca,
            spec.window("pck"),
            ca=False,
            extensions=((spec.sgx_extension, sgx_extension(spec)),),
        )
    )
    return {
        "root": root,
        "ca": ca,
        "pck": pck,
        "other": _issued(_Issue(authority, "somebody else", root, window, ca=True, path_length=0)),
        other: _issued(
            _Issue(f"Intel SGX PCK {other} CA", f"{spec.root} {other}", root, window, ca=True)
        ),
        "tcb_signer": _issued(
            _Issue(spec.signer_name, f"{spec.root} tcb", root, spec.window("tcb_signer"), ca=False)
        ),
        "stranger": _issued(
            _Issue(spec.signer_name, "stranger", None, spec.window("tcb_signer"), ca=False)
        ),
    }


# --- The quote. ---


def _quote(spec: Spec, people: Mapping[str, Holder], pck_chain: bytes) -> bytes:
    tee = 0x81 if spec.tdx else 0
    header = struct.pack("<HHII", spec.version, 2, tee, 0) + INTEL_QE_VENDOR + bytes(20)
    signed = spec.header(header)
    if spec.version == 5:  # noqa: PLR2004 - the version with a descriptor
        described = struct.pack("<HI", spec.kind, BODY_BYTES[spec.kind])
        signed += described if spec.descriptor is None else spec.descriptor
    signed += body(spec)
    key = pki.p256("attestation key")
    point = spec.attestation_key(public_point(key))
    signature = spec.signature(sign(key, signed))
    report = qe_report(spec, point)
    data = signature + point
    inner = report + spec.qe_signature(sign(people["pck"].key, report))
    inner += struct.pack("<H", len(spec.auth_data)) + spec.auth_data
    inner += struct.pack("<HI", spec.certification, len(pck_chain)) + pck_chain
    if spec.version > 3:  # noqa: PLR2004 - the versions that wrap
        inner = struct.pack("<HI", spec.wrapping, len(inner)) + inner
    data += inner
    return signed + struct.pack("<I", len(data)) + data + spec.tail


def body(spec: Spec) -> bytes:
    """The body of a quote."""
    report = bytearray(BODY_BYTES[spec.kind])
    if spec.tdx:
        places = TD_FIELDS
        said = {
            "tee_tcb_svn": bytes((11, 1, 4)).ljust(16, b"\0"),
            "tee_tcb_svn_2": bytes((11, 1, 4)).ljust(16, b"\0"),
            "mr_seam": b"\x51" * 48,
            "td_attributes": (1 << 28).to_bytes(8, "little"),
            "xfam": (0x602E7).to_bytes(8, "little"),
            "mr_td": b"\x52" * 48,
            **{f"rtmr{number}": bytes([0x53 + number]) * 48 for number in range(4)},
        }
    else:
        places = SGX_FIELDS
        said = {
            "cpu_svn": bytes(spec.components),
            "attributes": struct.pack("<QQ", 5, 0xE7),
            "mr_enclave": b"\x61" * 32,
            "mr_signer": b"\x62" * 32,
            "isv_prod_id": b"\x01\x00",
            "isv_svn": b"\x02\x00",
        }
    _fill(report, places, {**said, "report_data": spec.report_data, **spec.fields})
    return bytes(report)


def qe_report(spec: Spec, point: bytes) -> bytes:
    """The quoting enclave's report."""
    report = bytearray(BODY_BYTES[Body.ENCLAVE])
    identity = "TD_QE" if spec.tdx else "QE"
    said = {
        "attributes": struct.pack("<QQ", 0x15, 0xE7),
        "mr_enclave": b"\x71" * 32,
        "mr_signer": bytes.fromhex(QE_MRSIGNER[identity]),
        "isv_prod_id": b"\x02\x00" if spec.tdx else b"\x01\x00",
        "isv_svn": b"\x08\x00",
        "report_data": spec.qe_report_data(sha256(point + spec.auth_data) + bytes(32)),
    }
    _fill(report, SGX_FIELDS, {**said, **spec.qe})
    return bytes(report)


def _fill(report: bytearray, places: Mapping[str, int], said: Mapping[str, bytes]) -> None:
    for name, value in said.items():
        start = places[name]
        if start < len(report):
            report[start : start + len(value)] = value


def public_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """X and y, big-endian."""
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def sign(key: pki.PrivateKey, data: bytes) -> bytes:
    """An ES256 signature: r and s, big-endian."""
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        message = "Intel signs with an elliptic curve"
        raise TypeError(message)
    r, s = decode_dss_signature(
        key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    )
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def high_s(signature: bytes) -> bytes:
    """The other signature that is as good."""
    s = ORDER_P256 - int.from_bytes(signature[32:], "big")
    return signature[:32] + s.to_bytes(32, "big")


# --- The PCK certificate's extension. ---


def sgx_extension(spec: Spec) -> bytes:
    """The extension that says which platform it is."""
    tcb = [(number + 1, integer(value)) for number, value in enumerate(spec.components)]
    tcb += [(17, integer(spec.pce_svn)), (18, octets(bytes(spec.components)))]
    members = [
        (1, octets(b"\x81" * 16)),
        (2, _sequence(f"{SGX_EXTENSION}.2", spec.tcb(tcb))),
        (3, octets(bytes.fromhex(spec.pce_id))),
        (4, octets(bytes.fromhex(spec.fmspc))),
        (5, b"\x0a\x01\x01"),
        (6, octets(b"\x82" * 16)),
        (
            7,
            _sequence(
                f"{SGX_EXTENSION}.7",
                [(1, b"\x01\x01\xff"), (2, b"\x01\x01\x00"), (3, b"\x01\x01\xff")],
            ),
        ),
    ]
    return _sequence(SGX_EXTENSION, spec.extension(members))


def integer(value: int) -> bytes:
    """An INTEGER."""
    return asn1.encode_der(value)


def octets(value: bytes) -> bytes:
    """An OCTET STRING."""
    return asn1.encode_der(value)


def element(tag: int, content: bytes) -> bytes:
    """Any element with its length in the shortest form."""
    size = len(content)
    if size < 0x80:  # noqa: PLR2004 - X.690 §8.1.3.4
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _sequence(prefix: str, members: Sequence[tuple[int, bytes]]) -> bytes:
    return element(
        0x30,
        b"".join(
            element(0x30, asn1.encode_der(x509.ObjectIdentifier(f"{prefix}.{number}")) + value)
            for number, value in members
        ),
    )


# --- Collateral. ---


def _answer(spec: Spec, people: Mapping[str, Holder], *, tcb: bool) -> bytes:
    """Signed JSON, as Intel answers it."""
    start, end = spec.window("tcb_info" if tcb else "qe_identity")
    times = {"issueDate": time_text(start), "nextUpdate": time_text(end)}
    if tcb:
        value = spec.tcb_info({**_tcb_info(spec), **times})
        signer, text, edit, member = spec.tcb_signer, spec.tcb_text, spec.tcb_answer, "tcbInfo"
    else:
        value = spec.qe_identity({**_qe_identity(spec), **times})
        signer, text, edit = spec.qe_signer, spec.qe_text, spec.qe_answer
        member = "enclaveIdentity"
    raw = text(json.dumps(value, separators=(",", ":")).encode())
    signature = sign(people[signer].key, raw).hex()
    return edit(b'{"%s":%s,"signature":"%s"}' % (member.encode(), raw, signature.encode()))


def level(
    components: Sequence[int],
    status: str,
    *,
    pce_svn: int = 13,
    tdx: Sequence[int] | None = None,
    advisories: Sequence[str] = (),
    date: str = "2025-01-01T00:00:00Z",
) -> dict[str, Any]:
    """One TCB level."""
    tcb: dict[str, Any] = {
        "sgxtcbcomponents": [{"svn": svn} for svn in _sixteen(components)],
        "pcesvn": pce_svn,
    }
    if tdx is not None:
        tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in _sixteen(tdx)]
    said = {"tcb": tcb, "tcbDate": date, "tcbStatus": status}
    return {**said, "advisoryIDs": list(advisories)} if advisories else said


def enclave_level(svn: int, status: str, advisories: Sequence[str] = ()) -> dict[str, Any]:
    """One level of an enclave or module."""
    said = {"tcb": {"isvsvn": svn}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": status}
    return {**said, "advisoryIDs": list(advisories)} if advisories else said


def _sixteen(values: Sequence[int]) -> tuple[int, ...]:
    return (*values, *(0,) * (16 - len(values)))


def _tcb_info(spec: Spec) -> dict[str, Any]:
    zero = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    new, old = (3, 3, 2, 2, 3, 1, 0, 5), (2, 2, 2, 2, 3, 1, 0, 5)
    tdx = ((5, 0, 2), (4, 0, 2)) if spec.tdx else (None, None)
    said: dict[str, Any] = {
        "id": "TDX" if spec.tdx else "SGX",
        "version": 3,
        "fmspc": FMSPC,
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 18,
        "tcbLevels": [
            level(new, "UpToDate", tdx=tdx[0]),
            level(old, "OutOfDate", tdx=tdx[1], advisories=["INTEL-SA-00001"], pce_svn=11),
        ],
    }
    if spec.tdx:
        said["tdxModule"] = zero
        said["tdxModuleIdentities"] = [
            {
                "id": "TDX_01",
                **zero,
                "tcbLevels": [
                    enclave_level(6, "UpToDate"),
                    enclave_level(2, "OutOfDate", ["INTEL-SA-00002"]),
                ],
            },
            {"id": "TDX_03", **zero, "tcbLevels": [enclave_level(3, "UpToDate")]},
        ]
    return said


def _qe_identity(spec: Spec) -> dict[str, Any]:
    name = "TD_QE" if spec.tdx else "QE"
    return {
        "id": name,
        "version": 2,
        "tcbEvaluationDataNumber": 18,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": QE_MRSIGNER[name],
        "isvprodid": 2 if spec.tdx else 1,
        "tcbLevels": [
            enclave_level(8, "UpToDate"),
            enclave_level(6, "OutOfDate", ["INTEL-SA-00003"]),
        ],
    }


def _crl(
    spec: Spec, people: Mapping[str, Holder], name: str, issuer: str, watched: Sequence[str]
) -> bytes:
    start, end = spec.window(name)
    holder = people[issuer]
    return pki.revocation_list(
        holder,
        [
            (people[entry.what].certificate.serial_number, entry.date, entry.reason)
            for entry in spec.revoked
            if entry.what in watched
        ],
        this_update=start,
        life=end - start,
        extensions=[
            (x509.CRLNumber(1), False),
            (
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    holder.certificate.public_key()  # type: ignore[arg-type]  # an elliptic curve's
                ),
                False,
            ),
        ],
    )
