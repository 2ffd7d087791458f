"""Tests of registry.core.evidence.nvidia.spdm and container."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.encoding import base64_text
from registry.core.evidence.checks import CheckError
from registry.core.evidence.nvidia import container
from registry.core.evidence.nvidia.container import Device, write_device, write_set
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.nvidia.spdm import MAX_REPORT_BYTES, Opaque, Report
from tests.core.evidence.nvidia.judging import serialized
from tools.fake_vendor.nvidia import Spec, block, item, mint, mint_set
from tools.fake_vendor.pki import START, issue, name, p256

_VALUES = st.dictionaries(st.integers(1, 255), st.binary(max_size=64), max_size=12)
_ITEMS = st.dictionaries(st.integers(0, 65535), st.binary(max_size=64), max_size=8)
REPORT = mint(Spec()).devices[0].report


def written(
    nonce: bytes,
    measurements: Mapping[int, bytes],
    responder: bytes,
    opaque: Mapping[int, bytes],
    signature: bytes,
) -> bytes:
    """A report with these parts."""
    record = b"".join(block(index, value) for index, value in measurements.items())
    items = b"".join(item(kind, value) for kind, value in opaque.items())
    return b"".join(
        (
            b"\x11\xe0\x01\xff" + nonce + b"\0",
            b"\x11\x60\0\0" + bytes([len(measurements)]),
            len(record).to_bytes(3, "little") + record,
            responder,
            len(items).to_bytes(2, "little") + items,
            signature,
        )
    )


@given(
    st.binary(min_size=32, max_size=32),
    _VALUES,
    st.binary(min_size=32, max_size=32),
    _ITEMS,
    st.binary(min_size=96, max_size=96),
)
def test_a_report_is_read_as_it_is_written(
    nonce: bytes,
    measurements: dict[int, bytes],
    responder: bytes,
    opaque: dict[int, bytes],
    signature: bytes,
) -> None:
    data = written(nonce, measurements, responder, opaque, signature)
    report = Report.parse(data)
    assert (report.nonce, report.responder_nonce) == (nonce, responder)
    assert report.measurements == measurements
    assert report.opaque == opaque
    assert report.signature == signature
    assert report.signed + report.signature == data


@given(st.integers(0, len(REPORT) - 1))
def test_a_report_that_is_cut_anywhere_is_refused(size: int) -> None:
    with pytest.raises(CheckError) as caught:
        Report.parse(REPORT[:size])
    assert caught.value.finding is Found.REPORT_LAYOUT


@settings(max_examples=200)
@given(st.integers(0, len(REPORT) - 1), st.integers(1, 255))
def test_a_report_with_another_byte_is_another_or_none(at: int, change: int) -> None:
    data = bytearray(REPORT)
    data[at] ^= change
    try:
        report = Report.parse(bytes(data))
    except CheckError:
        return
    assert report.signed + report.signature == data
    assert report != Report.parse(REPORT)


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 0x10), (1, 0xE1), (2, 0), (3, 0), (36, 1), (37, 0x10), (38, 0x7F), (39, 1), (40, 1)],
)
def test_only_one_request_and_one_kind_of_answer_count(at: int, value: int) -> None:
    data = bytearray(REPORT)
    data[at] = value
    with pytest.raises(CheckError) as caught:
        Report.parse(bytes(data))
    assert caught.value.finding is Found.REPORT_LAYOUT


def test_a_report_is_bounded() -> None:
    long = {index: bytes(MAX_REPORT_BYTES // 3) for index in (1, 2, 3)}
    with pytest.raises(CheckError) as caught:
        Report.parse(written(bytes(32), long, bytes(32), {}, bytes(96)))
    assert caught.value.finding is Found.REPORT_LAYOUT


def test_an_index_of_zero_is_no_measurement() -> None:
    data = written(bytes(32), {0: bytes(48)}, bytes(32), {}, bytes(96))
    with pytest.raises(CheckError):
        Report.parse(data)


@given(st.text(alphabet="abcXYZ019.-_", min_size=1, max_size=12), st.text("\0 ", max_size=5))
def test_a_name_is_what_stands_before_its_padding(text: str, padding: str) -> None:
    opaque = {int(Opaque.DRIVER_VERSION): (text + padding).encode()}
    report = Report.parse(written(bytes(32), {}, bytes(32), opaque, bytes(96)))
    if ".." in text or not any(character.isalnum() for character in text):
        with pytest.raises(CheckError) as caught:
            report.text(Opaque.DRIVER_VERSION)
        assert caught.value.finding is Found.REPORT_NAMES
    else:
        assert report.text(Opaque.DRIVER_VERSION) == text
    assert report.text(Opaque.PROJECT) is None


_BYTES = st.binary(min_size=1, max_size=60)


@given(st.lists(st.tuples(_BYTES, st.lists(_BYTES, max_size=5)), min_size=1, max_size=4))
def test_our_own_form_is_read_as_it_is_written(parts: list[tuple[bytes, list[bytes]]]) -> None:
    devices = tuple(Device(report, tuple(chain)) for report, chain in parts)
    assert container.read(write_set(devices)).devices == devices
    assert container.read(write_device(devices[0])).devices == devices[:1]


@given(st.data())
def test_our_own_form_has_one_spelling(data: st.DataObject) -> None:
    text = write_device(Device(REPORT[:90], (b"certificate",)))
    at = data.draw(st.integers(0, len(text)))
    added = data.draw(st.sampled_from([b" ", b"\n", b",", b'"', b"\0", b"="]))
    try:
        read = container.read(text[:at] + added + text[at:])
    except CheckError as error:
        refusal = error.finding
        assert refusal is Found.CONTAINER
        return
    assert write_device(read.devices[0]) == text[:at] + added + text[at:]


def test_what_nvidias_tools_write_is_the_same_evidence() -> None:
    minted = mint_set([Spec(), Spec(number=2)])
    read = container.read(serialized(minted.devices, "HOPPER"))
    assert [(item.report, item.chain) for item in read.devices] == [
        (item.report, item.chain) for item in minted.devices
    ]
    assert {item.architecture for item in read.devices} == {"HOPPER"}


PEM = issue(name("somebody"), p256("somebody"), None, start=START).pem


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" " + PEM,
        PEM + b"\n",
        PEM + b"junk",
        PEM.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + PEM,
        PEM.replace(b"CERTIFICATE", b"X509 CERTIFICATE"),
        PEM[:100] + PEM[101:],
        PEM * 9,
        PEM.replace(b"\n-----END", b"\n\n-----END"),
    ],
    ids=["empty", "space", "line", "junk", "CRLF", "BOM", "label", "cut", "nine", "gap"],
)
def test_a_chain_in_pem_has_one_spelling(data: bytes) -> None:
    assert len(container.read_pem(PEM * 2)) == 2
    assert len(container.read_pem(PEM[:-1])) == 1
    with pytest.raises(CheckError) as caught:
        container.read_pem(data)
    assert caught.value.finding is Found.CONTAINER


@pytest.mark.parametrize(
    "data",
    [
        REPORT.hex().upper().encode(),
        REPORT.hex().encode() + b"\n\n",
        REPORT.hex().encode()[:-1],
        base64_text(REPORT).encode().replace(b"+", b"-").replace(b"E", b"_", 1),
        b"11e0 01ff",
        "é".encode(),
    ],
    ids=["upper", "lines", "odd", "url", "spaces", "not ASCII"],
)
def test_a_report_in_text_has_one_spelling(data: bytes) -> None:
    with pytest.raises(CheckError) as caught:
        container.read_report(data)
    assert caught.value.finding is Found.CONTAINER


def _collected(chains: bytes) -> bytes:
    """One GPU as google's collector writes it."""
    return (
        b'{"gpus":[{"Arch":"HOPPER","AttestationReport":{"py/b64":"EeA="},'
        b'"CertificateChains":{"GpuAttestationCertificateChain":' + chains + b"}}]}"
    )


@pytest.mark.parametrize(
    "data",
    [
        b'[{"evidence":"EeA="}]',
        b'[{"evidence":"EeA=","certificate":"","arch":1,"nonce":""}]',
        b"[1]",
        b'{"gpus":[]}',
        b'{"gpus":{}}',
        b'{"gpus":[{"AttestationReport":{"py/b64":"EeA="},"CertificateChains":{}}]}',
        _collected(b"[]"),
        _collected(b'[{"pem":"AA=="},{"pem":"AA=="}]'),
        b"eyJ\xff",
        b'{"detached_eat":[]}',
        b'{"detached_eat":[["JWT"]]}',
        b'{"detached_eat":["x"]}',
        b'[{"a":1,"a":2}]',
        b"[NaN]",
        b"[" * 100 + b"]" * 100,
        b"[" + b",".join([b"{}"] * 40) + b"]",
    ],
    ids=range(16),
)
def test_other_json_is_no_evidence(data: bytes) -> None:
    with pytest.raises(CheckError) as caught:
        container.read(data)
    assert caught.value.finding is Found.CONTAINER
