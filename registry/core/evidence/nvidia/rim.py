"""Reference integrity manifests: signed SWID tags (ISO/IEC 19770-2) with golden measurements.

XML is read with everything turned off that reads more than the document: no document type, no
entities, no network, no comments. The signature must cover the whole document, once, by pinned
algorithms; what is compared afterwards is read from what the signature was verified over.

XML comes with the extra ``provreg[nvidia]``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from registry.core.encoding import base64_bytes, decimal, hex_bytes
from registry.core.evidence.checks import CheckError
from registry.core.evidence.nvidia import chain
from registry.core.evidence.nvidia.findings import Found
from registry.errors import MalformedError, Reason, UnavailableError

try:
    from lxml import etree
    from signxml import (
        CanonicalizationMethod,
        DigestAlgorithm,
        SignatureConfiguration,
        SignatureMethod,
        XMLVerifier,
    )
    from signxml.exceptions import InvalidDigest, SignXMLException
except ImportError:
    HAS_XML = False
else:
    HAS_XML = True
    # Read now what the library reads when it first verifies: a confined process, in which hostile
    # manifests are judged, can open no file any more.
    XMLVerifier().schemas()  # type: ignore[no-untyped-call]  # the library gives no types here

MAX_MANIFEST_BYTES: Final = 256 * 1024
"""Bytes of one manifest; NVIDIA's take about 25,000."""

MAX_RESOURCES: Final = 255
"""Golden measurements of one manifest: an index plus one is a byte of a report."""

MAX_ALTERNATIVES: Final = 1024
"""Values of one golden measurement."""

MAX_ELEMENTS: Final = 1024
"""Elements of one manifest; NVIDIA's have about 90."""

_SWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
_DSIG = "http://www.w3.org/2000/09/xmldsig#"
_SHA384 = "http://www.w3.org/2001/04/xmlenc#sha384"
_C14N11 = "http://www.w3.org/2006/12/xml-c14n11"
_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_ECDSA_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
_DIGEST_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#sha384"
_HASH = re.compile(r"\{" + re.escape(_SHA384) + r"\}Hash(0|[1-9][0-9]{0,3})")
_BODY_ORDER = ("Entity", "Meta", "Payload", "Signature")
_ONCE = (
    "Signature",
    "SoftwareIdentity",
    "Meta",
    "Payload",
    "SignedInfo",
    "SignatureValue",
    "KeyInfo",
)
_CACHED_MANIFESTS = 64


@dataclass(frozen=True, slots=True)
class Golden:
    """What one measurement must be.

    Attributes:
        active: Whether it counts.
        size: Bytes of the measurement.
        values: Any one of which it must be.
    """

    active: bool
    size: int
    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says.

    Attributes:
        data: The document.
        product: The chip that it is for, such as ``GH100``.
        version: The version of driver or firmware that it is for.
        golden: What the measurements must be, by the index of the manifest.
        certificates: The signer's chain, DER, the signer first.
    """

    data: bytes
    product: str
    version: str
    golden: Mapping[int, Golden]
    certificates: tuple[bytes, ...]


def check_extra() -> None:
    """Check that XML can be read at all.

    Raises:
        UnavailableError: ``MISSING_EXTRA``.
    """
    if not HAS_XML:
        raise UnavailableError(
            Reason.MISSING_EXTRA,
            "signed XML, in which NVIDIA publishes measurements, cannot be read here",
            hint="run: pip install 'provreg[nvidia]'",
        )


@lru_cache(maxsize=_CACHED_MANIFESTS)
def read(data: bytes) -> Manifest:
    """Read a manifest whether or not its signature is good.

    Raises:
        CheckError: ``RIM_…`` for its shape; ``RIM_UNSIGNED``, ``RIM_WRAPPING``,
            ``RIM_ALGORITHM`` or ``RIM_REFERENCE`` for that of its signature.
        UnavailableError: ``MISSING_EXTRA``.
    """
    check_extra()
    return _manifest(data, _parse(data))


def open_signed(data: bytes) -> Manifest:
    """What the first certificate in a manifest signed; whose it is, is asked separately.

    Raises:
        CheckError: As :func:`read`, and ``RIM_DIGEST`` if it was edited after it was signed,
            ``RIM_SIGNATURE`` if the signature is another's, ``CHAIN_CERTIFICATE``.
        UnavailableError: ``MISSING_EXTRA``.
    """
    opened = _opened(data)
    if isinstance(opened, CheckError):
        # Remembered, and without the places where it was raised before.
        raise opened.with_traceback(None)
    return opened


@lru_cache(maxsize=_CACHED_MANIFESTS)
def _opened(data: bytes) -> Manifest | CheckError:
    """A refusal is remembered like a manifest: to ask again costs nothing either way."""
    try:
        return _open(data)
    except CheckError as error:
        return error


def _open(data: bytes) -> Manifest:
    manifest = read(data)
    signer = chain.certificate(manifest.certificates[0])
    expected = SignatureConfiguration(
        location="./",
        expect_references=1,
        signature_methods=frozenset([SignatureMethod.ECDSA_SHA384]),
        digest_algorithms=frozenset([DigestAlgorithm.SHA384]),
        default_reference_c14n_method=CanonicalizationMethod.CANONICAL_XML_1_1,
        # Windows are checked at the moment of the examination, not here.
        verification_time=signer.not_valid_before_utc,
    )
    try:
        verified = XMLVerifier().verify(_parse(data), x509_cert=signer, expect_config=expected)
    except InvalidDigest as error:
        raise CheckError(Found.RIM_DIGEST, "the manifest was edited after it was signed") from error
    except (SignXMLException, ValueError, etree.LxmlError) as error:
        raise _signature_error(str(error)) from error
    signed = None if isinstance(verified, list) else verified.signed_xml
    if signed is None:  # pragma: no cover - one reference was asked for, and verified
        raise _signature_error("nothing is signed")
    # From here on only what the signature was verified over.
    product, version, golden = _body(signed)
    return Manifest(data, product, version, golden, manifest.certificates)


def _signature_error(actual: str) -> CheckError:
    return CheckError(
        Found.RIM_SIGNATURE,
        "the signature of the manifest does not verify",
        actual=actual[:200],
    )


def _parse(data: bytes) -> "etree._Element":
    if len(data) > MAX_MANIFEST_BYTES:
        raise CheckError(
            Found.RIM_XML,
            "the manifest is too long",
            expected=f"at most {MAX_MANIFEST_BYTES} bytes",
            actual=f"{len(data)} bytes",
        )
    # Looked for before anything parses it, in the only encoding that the parser is given.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise CheckError(Found.RIM_DOCTYPE, "a manifest has no document type and no entities")
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        recover=False,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise CheckError(
            Found.RIM_XML, "this is not XML", actual=str(error).partition("\n")[0][:200]
        ) from error
    tree = root.getroottree()
    nodes = list(tree.iter())
    if tree.docinfo.doctype or len(nodes) > MAX_ELEMENTS:
        raise CheckError(Found.RIM_XML, "the manifest has a document type or too many elements")
    beside = root.getprevious() is not None or root.getnext() is not None
    if beside or not all(isinstance(node.tag, str) for node in nodes):
        raise CheckError(
            Found.RIM_XML, "a manifest has neither comments nor processing instructions"
        )
    return root


def _manifest(data: bytes, root: "etree._Element") -> Manifest:
    """What it says, in an order that names what is missing before where it should stand."""
    metas = root.findall("{*}Meta")
    if metas and not metas[0].get("colloquialVersion"):
        raise CheckError(Found.RIM_NO_VERSION, "the manifest does not say for which version it is")
    signatures = root.findall(".//{*}Signature")
    certificates = _certificates(signatures[0]) if signatures else ()
    product, version, golden = _body(root)
    if not signatures:
        raise CheckError(Found.RIM_UNSIGNED, "the manifest is not signed")
    _check_signature_shape(root)
    names = [etree.QName(child) for child in root]
    expected = [etree.QName(_SWID, name) for name in _BODY_ORDER[:-1]]
    if root.tag != f"{{{_SWID}}}SoftwareIdentity" or names[:-1] != expected:
        raise _schema("it is not a SWID tag of one entity, metadata, payload and signature")
    return Manifest(data, product, version, golden, certificates)


def _body(root: "etree._Element") -> tuple[str, str, Mapping[int, Golden]]:
    payloads = root.findall("{*}Payload")
    if len(payloads) != 1:
        raise CheckError(
            Found.RIM_NO_PAYLOAD, "a manifest has one payload", actual=str(len(payloads))
        )
    if not len(payloads[0]):
        raise CheckError(Found.RIM_EMPTY_PAYLOAD, "the payload of the manifest is empty")
    golden: dict[int, Golden] = {}
    for resource in payloads[0]:
        index, entry = _golden(resource)
        if index in golden:
            raise CheckError(
                Found.RIM_DUPLICATE_INDEX, "a golden measurement occurs twice", where=f"{index}"
            )
        golden[index] = entry
    metas = root.findall("{*}Meta")
    if not metas and not root.findall("{*}Signature"):
        # Fragments without a signature are refused as such, whatever else they lack.
        return "", "", MappingProxyType(golden)
    if len(metas) != 1 or not metas[0].get("product"):
        raise _schema("it does not say for which product it is")
    product, version = metas[0].get("product") or "", metas[0].get("colloquialVersion") or ""
    return product, version, MappingProxyType(golden)


def _golden(resource: "etree._Element") -> tuple[int, Golden]:
    named = resource.tag == f"{{{_SWID}}}Resource"
    if not named or resource.get("type") != "Measurement" or len(resource):
        raise _schema("its payload holds something else than measurements", str(resource.tag)[:80])
    index = _number(resource, "index", Found.RIM_INDEX_MISSING, Found.RIM_INDEX)
    where = f"index {index}"
    if index >= MAX_RESOURCES:
        raise CheckError(Found.RIM_INDEX, "no measurement has this index", where=where)
    size = _number(resource, "size", Found.RIM_SIZE_MISSING, Found.RIM_SIZE)
    count = _number(resource, "alternatives", Found.RIM_ALTERNATIVES, Found.RIM_ALTERNATIVES)
    hashes = {
        int(matched[1]): str(value)
        for key, value in resource.attrib.items()
        if (matched := _HASH.fullmatch(str(key)))
    }
    if not hashes:
        raise CheckError(Found.RIM_HASH_MISSING, "a golden measurement has no value", where=where)
    if not 1 <= count <= MAX_ALTERNATIVES or sorted(hashes) != list(range(count)):
        raise CheckError(
            Found.RIM_ALTERNATIVES,
            "a golden measurement has another number of values than it says",
            where=where,
            expected=str(count),
            actual=str(len(hashes)),
        )
    active = resource.get("active")
    if active not in ("True", "False"):
        raise _schema("a golden measurement is neither active nor inactive", where)
    try:
        values = tuple(
            hex_bytes(hashes[number], len(hashes[number]) // 2) for number in range(count)
        )
    except MalformedError as error:
        raise CheckError(
            Found.RIM_HASH, "a golden measurement is not hexadecimal", where=where
        ) from error
    return index, Golden(active == "True", size, values)


def _number(resource: "etree._Element", name: str, absent: Found, bad: Found) -> int:
    text = resource.get(name)
    if text is None:
        raise CheckError(absent, f"a golden measurement has no {name}")
    try:
        return decimal(text)
    except MalformedError as error:
        raise CheckError(bad, f"the {name} is not a number", actual=text[:40]) from error


def _certificates(signature: "etree._Element") -> tuple[bytes, ...]:
    found = signature.findall("{*}KeyInfo/{*}X509Data/{*}X509Certificate")
    if not found:
        raise CheckError(Found.RIM_NO_CERTIFICATE, "the manifest does not come with its signer")
    try:
        # RFC 7468 lines; any other white space is refused with the base64.
        return tuple(base64_bytes((item.text or "").replace("\n", "")) for item in found)
    except MalformedError as error:
        raise CheckError(
            Found.RIM_CERTIFICATE_DATA, "a certificate in the manifest is not base64"
        ) from error


def _check_signature_shape(root: "etree._Element") -> None:
    """One signature, the last child of the root, over the whole document by pinned algorithms."""
    # A second thing of one of these names, anywhere, is how signatures are wrapped.
    repeated = [name for name in _ONCE if len(list(root.iter(f"{{*}}{name}"))) != 1]
    repeated += [
        name for name in ("Object", "Manifest") if root.find(f".//{{*}}{name}") is not None
    ]
    signature = root[-1]
    if repeated or signature.tag != f"{{{_DSIG}}}Signature":
        raise CheckError(
            Found.RIM_WRAPPING,
            "the signature is not where it covers the whole manifest",
            actual=", ".join(repeated),
        )
    references = list(root.iter(f"{{{_DSIG}}}Reference"))
    transforms = [item.get("Algorithm") for item in root.iter(f"{{{_DSIG}}}Transform")]
    whole = [item.get("URI") for item in references] == [""]
    if not whole or transforms != [_ENVELOPED, _C14N11] or len(references[0].attrib) != 1:
        raise CheckError(
            Found.RIM_REFERENCE,
            "the signature has other references than one to the whole manifest",
            expected="one reference to the document, enveloped, canonical XML 1.1",
            actual=f"{[item.get('URI') for item in references]} {transforms}",
        )
    for name, pinned in (
        ("CanonicalizationMethod", _C14N11),
        ("SignatureMethod", _ECDSA_SHA384),
        ("DigestMethod", _DIGEST_SHA384),
    ):
        used = [item.get("Algorithm") for item in root.iter(f"{{{_DSIG}}}{name}")]
        if used != [pinned]:
            raise CheckError(
                Found.RIM_ALGORITHM,
                "the manifest is signed by another algorithm",
                where=name,
                expected=pinned,
                actual=str(used),
            )


def _schema(what: str, actual: str = "") -> CheckError:
    return CheckError(Found.RIM_SCHEMA, f"the manifest has another shape: {what}", actual=actual)
