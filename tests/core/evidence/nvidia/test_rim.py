"""Tests of registry.core.evidence.nvidia.rim."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.evidence.checks import CheckError, Finding
from registry.core.evidence.nvidia import rim
from registry.core.evidence.nvidia.findings import Found
from registry.core.verdict import Verdict
from tests.core.evidence.nvidia.judging import findings, judge, with_rims
from tools.fake_vendor import pki
from tools.fake_vendor.nvidia import FIRMWARE_INDICES, fitting
from tools.fake_vendor.nvidia_rim import RESOURCES, Rim, golden, mint_rim, signers

FIRMWARE = Rim(version="96.00.9F.00.01", active=FIRMWARE_INDICES)
GOOD = mint_rim(FIRMWARE).decode()


def refused(data: bytes, finding: str) -> None:
    with pytest.raises(CheckError) as caught:
        rim.open_signed(data)
    assert caught.value.finding == finding


def test_a_manifest_says_what_its_vendor_signed() -> None:
    data = GOOD.encode()
    rim.open_signed(data)
    read = rim.read(data)
    assert (read.product, read.version) == ("GH100", "96.00.9F.00.01")
    assert len(read.golden) == RESOURCES
    assert [index for index, entry in read.golden.items() if entry.active] == list(range(12))
    assert read.golden[3].values == (golden(3),)
    assert read.certificates == tuple(item.der for item in reversed(signers("nvidia rim")))


_XXE = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
_LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("edit", "finding"),
    [
        (lambda text: _XXE + text, Found.RIM_DOCTYPE),
        (lambda text: _LAUGHS + text, Found.RIM_DOCTYPE),
        (lambda text: "<!DOCTYPE SoftwareIdentity>" + text, Found.RIM_DOCTYPE),
        (lambda text: text.replace("Fake Vendor", "&e;"), Found.RIM_XML),
        (lambda text: "<!-- said -->" + text, Found.RIM_XML),
        (lambda text: text + "<?php ?>", Found.RIM_XML),
        (lambda text: text.replace("    <ns0:Meta", "<!-- --><ns0:Meta"), Found.RIM_XML),
        (lambda text: text[:-5], Found.RIM_XML),
        (lambda _: "", Found.RIM_XML),
    ],
    ids=["XXE", "laughs", "DTD", "entity", "comment", "instruction", "inside", "cut", "empty"],
)
def test_nothing_is_read_but_the_document(  # row 121
    edit: Callable[[str], str], finding: str
) -> None:
    refused(edit(GOOD).encode(), finding)
    appraisal = judge(with_rims([fitting(with_rims([]))[0], replace(FIRMWARE, document=edit)]))
    assert appraisal.verdict is Verdict.INVALID
    assert ("G6", finding) in findings(appraisal)


def test_a_document_in_another_encoding_is_no_manifest() -> None:  # row 121
    declared = '<?xml version="1.0" encoding="utf-16"?>' + _XXE + GOOD
    refused(declared.encode("utf-16"), Found.RIM_XML)


def _signature(text: str) -> str:
    found = re.search(r"<ds:Signature .*</ds:Signature>", text, re.DOTALL)
    assert found is not None
    return found[0]


def _body(text: str) -> str:
    return text.replace(_signature(text), "")


_EVIL = _body(GOOD).replace(golden(9).hex(), "0" * 96)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        # Two signatures.
        (GOOD.replace(_signature(GOOD), _signature(GOOD) * 2), Found.RIM_WRAPPING),
        # Somebody's document around the signed one, and the other way round.
        (
            _EVIL.replace("</SoftwareIdentity>", GOOD + "</SoftwareIdentity>"),
            Found.RIM_WRAPPING,
        ),
        (
            GOOD.replace("</ds:Signature>", f"<ds:Object>{_EVIL}</ds:Object></ds:Signature>"),
            Found.RIM_WRAPPING,
        ),
        # The signature somewhere else.
        (
            _body(GOOD).replace(
                'softwareCreator tagCreator"/>',
                f'softwareCreator tagCreator">{_signature(GOOD)}</ns0:Entity>',
            ),
            Found.RIM_WRAPPING,
        ),
        # A second payload, before or after the signed one.
        (
            GOOD.replace(
                "    <ns0:Payload", '    <ns0:Payload xmlns:x="y"></ns0:Payload><ns0:Payload', 1
            ),
            Found.RIM_NO_PAYLOAD,
        ),
        # What is said of it, twice.
        (
            GOOD.replace("    <ns0:Payload", '    <ns0:Meta product="x"/><ns0:Payload', 1),
            Found.RIM_SCHEMA,
        ),
        (GOOD.replace(_signature(GOOD), ""), Found.RIM_UNSIGNED),
    ],
    ids=["two", "around", "inside", "elsewhere", "payloads", "metas", "unsigned"],
)
def test_a_signature_that_covers_something_else_is_refused(  # row 121
    text: str, finding: str
) -> None:
    refused(text.encode(), finding)


@pytest.mark.parametrize(
    "edit",
    [
        lambda one: one.replace('URI=""', 'URI="#fake"'),
        lambda one: one.replace('URI=""', 'URI="http://example/x"'),
        lambda one: one * 2,
        lambda _: "",
        lambda one: one.replace("<ds:Transform ", "<ds:Transform/><ds:Transform ", 1),
        lambda one: re.sub(r"<ds:Transforms>.*</ds:Transforms>", "", one),
        lambda one: one.replace("xmldsig#enveloped-signature", "xmldsig#base64"),
        lambda one: one.replace('URI=""', 'URI="" Id="x"'),
    ],
    ids=["id", "address", "two", "none", "transforms", "no transform", "other transform", "id too"],
)
def test_a_signature_has_one_reference_to_the_whole(edit: Callable[[str], str]) -> None:  # row 121
    refused(mint_rim(replace(FIRMWARE, references=edit)), Found.RIM_REFERENCE)


@pytest.mark.parametrize(
    "algorithm",
    [
        "http://www.w3.org/2000/09/xmldsig#hmac-sha1",
        "http://www.w3.org/2001/04/xmldsig-more#hmac-sha384",
        "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
        "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1",
        "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
        "",
    ],
)
def test_a_manifest_is_signed_by_one_algorithm(algorithm: str) -> None:  # row 122
    refused(mint_rim(replace(FIRMWARE, signature_method=algorithm)), Found.RIM_ALGORITHM)


@pytest.mark.parametrize(
    "algorithm",
    [
        "http://www.w3.org/2000/09/xmldsig#sha1",
        "http://www.w3.org/2001/04/xmlenc#sha256",
        "http://www.w3.org/2001/04/xmldsig-more#md5",
    ],
)
def test_a_manifest_is_digested_by_one_algorithm(algorithm: str) -> None:  # row 122
    refused(mint_rim(replace(FIRMWARE, digest_method=algorithm)), Found.RIM_ALGORITHM)


def test_a_manifest_is_canonicalized_in_one_way() -> None:  # row 122
    with_comments = "http://www.w3.org/2006/12/xml-c14n11#WithComments"
    refused(mint_rim(replace(FIRMWARE, canonicalization=with_comments)), Found.RIM_REFERENCE)


def test_the_key_beside_the_certificate_counts_for_nothing() -> None:
    other = pki.issue(pki.name("somebody"), pki.p384("somebody"), None, ca=False)
    data = mint_rim(
        replace(
            FIRMWARE,
            signer=pki.p384("somebody"),
            key_info=lambda chain: [other.der, *chain[1:]],
        )
    )
    rim.open_signed(data)
    appraisal = judge(
        with_rims(
            [
                fitting(with_rims([]))[0],
                replace(
                    FIRMWARE,
                    signer=pki.p384("somebody"),
                    key_info=lambda chain: [other.der, *chain[1:]],
                ),
            ]
        )
    )
    assert ("G7", Found.CHAIN_SIGNATURE) in findings(appraisal)
    assert appraisal.verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ('index="3"', "", Found.RIM_INDEX_MISSING),
        ('index="3"', 'index="03"', Found.RIM_INDEX),
        ('index="3"', 'index="-3"', Found.RIM_INDEX),
        ('index="3"', 'index="255"', Found.RIM_INDEX),
        ('index="3"', 'index="4"', Found.RIM_DUPLICATE_INDEX),
        ('size="48"', "", Found.RIM_SIZE_MISSING),
        ('size="48"', 'size="x"', Found.RIM_SIZE),
        ('alternatives="1"', "", Found.RIM_ALTERNATIVES),
        ('alternatives="1"', 'alternatives="2"', Found.RIM_ALTERNATIVES),
        ('alternatives="1"', 'alternatives="0"', Found.RIM_ALTERNATIVES),
        (f'ns2:Hash0="{golden(3).hex()}"', "", Found.RIM_HASH_MISSING),
        ("ns2:Hash0", "Hash0", Found.RIM_HASH_MISSING),
        ("ns2:Hash0", "ns2:Hash00", Found.RIM_HASH_MISSING),
        ("ns2:Hash0", "ns2:Hash1", Found.RIM_ALTERNATIVES),
        (golden(3).hex(), golden(3).hex().upper(), Found.RIM_HASH),
        (golden(3).hex(), golden(3).hex()[1:], Found.RIM_HASH),
        ('active="True"', 'active="true"', Found.RIM_SCHEMA),
        ('active="True"', "", Found.RIM_SCHEMA),
        ('type="Measurement"', 'type="Other"', Found.RIM_SCHEMA),
        ("<ns0:Resource", "<ns0:File", Found.RIM_SCHEMA),
        ("<ns0:Resource", "<ns2:Resource", Found.RIM_SCHEMA),
    ],
    ids=range(21),
)
def test_a_golden_measurement_has_one_form(old: str, new: str, finding: str) -> None:  # row 103
    def edit(index: int, text: str) -> str:
        return text.replace(old, new) if index == 3 else text

    refused(mint_rim(replace(FIRMWARE, resource=edit)), finding)


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ('colloquialVersion="96.00.9F.00.01"', "", Found.RIM_NO_VERSION),
        ('product="GH100"', "", Found.RIM_SCHEMA),
        ("schema.xsd", "schema.xse", Found.RIM_SCHEMA),
        ("SoftwareIdentity", "Software", Found.RIM_WRAPPING),
        ("ns0:Entity", "ns0:Link", Found.RIM_SCHEMA),
    ],
    ids=["no version", "no product", "namespace", "root", "entity"],
)
def test_a_manifest_has_one_form(old: str, new: str, finding: str) -> None:  # row 103
    refused(GOOD.replace(old, new).encode(), finding)


def test_a_manifest_is_bounded() -> None:
    refused(GOOD.encode() + b" " * rim.MAX_MANIFEST_BYTES, Found.RIM_XML)
    many = "<ns0:Link/>" * rim.MAX_ELEMENTS
    refused(GOOD.replace("    <ns0:Payload", many + "<ns0:Payload").encode(), Found.RIM_XML)
    deep = "<x>" * 300 + "</x>" * 300
    refused(GOOD.replace("    <ns0:Payload", deep + "<ns0:Payload").encode(), Found.RIM_XML)


def test_no_manifest_is_signed_over_and_over() -> None:
    issues = [replace(FIRMWARE, edition=f"GPU{number}") for number in range(9)]
    appraisal = judge(with_rims([fitting(with_rims([]))[0], *issues]))
    assert ("G6", Found.RIM_ISSUES) in findings(appraisal)
    fewer = judge(with_rims([fitting(with_rims([]))[0], *issues[:8]]))
    assert fewer.verdict is Verdict.VALID


@pytest.mark.parametrize("count", [1, 3, 5])
def test_the_chain_of_a_signer_has_four_certificates(count: int) -> None:
    def edit(chain: Sequence[bytes]) -> Sequence[bytes]:
        return [*chain[:1], *([chain[1]] * (count - 2)), *chain[-1:]][-count:]

    rims = [fitting(with_rims([]))[0], replace(FIRMWARE, key_info=edit)]
    appraisal = judge(with_rims(rims))
    assert appraisal.verdict is Verdict.INVALID
    failed = {item for item in findings(appraisal) if item[0] == "G7"}
    assert failed <= {("G7", Found.CHAIN_LENGTH), ("G7", Found.RIM_SIGNATURE)}
    assert failed


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.characters(min_codepoint=32, max_codepoint=126))
def test_no_single_character_of_what_is_signed_can_change(at: int, character: str) -> None:
    body = _body(GOOD)
    at %= len(body)
    if body[at] == character:
        return
    edited = body[:at] + character + body[at + 1 :]
    text = edited.removesuffix("</SoftwareIdentity>") + _signature(GOOD) + "</SoftwareIdentity>"
    try:
        rim.open_signed(text.encode())
    except CheckError:
        return
    # White space between attributes is not part of what is signed; the meaning is the same.
    read, good = rim.read(text.encode()), rim.read(GOOD.encode())
    assert (read.product, read.version, read.golden) == (good.product, good.version, good.golden)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="<>/&;!-?ax \"'=", max_size=80).map(str.encode))
def test_other_bytes_are_no_manifest(data: bytes) -> None:
    with pytest.raises(CheckError):
        rim.read(data)


def test_a_manifest_under_a_root_that_nobody_named_is_refused() -> None:
    rims = [replace(item, root="own") for item in fitting(with_rims([]))]
    appraisal = judge(with_rims(rims))
    assert ("G7", Finding.UNTRUSTED_ROOT) in findings(appraisal)
    assert appraisal.verdict is Verdict.INVALID
