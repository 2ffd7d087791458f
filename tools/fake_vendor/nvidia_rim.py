"""NVIDIA's signed manifests, of the fake vendor: SWID tags with any defect one wants."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from lxml import etree

from registry.core.encoding import base64_text
from tools.fake_vendor import pki
from tools.fake_vendor.pki import Holder

MANIFEST_ROOT: Final = "nvidia rim"
"""The root of manifests if nobody says otherwise."""

SIGNER_START: Final = datetime(2025, 6, 1, tzinfo=UTC)
"""From when the signer of a manifest is valid if nobody says otherwise."""

SIGNER_END: Final = datetime(2027, 6, 1, tzinfo=UTC)
"""Until when."""

RESOURCES: Final = 64
"""Golden measurements of one manifest."""

C14N: Final = "http://www.w3.org/2006/12/xml-c14n11"
ENVELOPED: Final = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
ECDSA_SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#sha384"

_SWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
_DSIG = "http://www.w3.org/2000/09/xmldsig#"
_HASH = "http://www.w3.org/2001/04/xmlenc#sha384"
_TCG = (
    "https://trustedcomputinggroup.org/resource/"
    "tcg-reference-integrity-manifest-rim-information-model/"
)


def _same(value: Any) -> Any:
    return value


def golden(index: int) -> bytes:
    """What the measurement of an index is, in the report and in the manifest."""
    return hashlib.sha384(f"measurement {index}".encode()).digest()


@dataclass(frozen=True)
class Rim:
    """One manifest. What is not stated is as a real one has it.

    Attributes:
        product: The chip.
        version: The version that it is for.
        active: Indices that count.
        edition: ``GPU`` or ``SWITCH``.
        resource: Edits the text of one measurement, given its index.
        body: Edits the text that is signed.
        document: Edits the text after it was signed.
        signature_method: What the signature says it is made by.
        digest_method: What the reference says it is made by.
        canonicalization: What both say they are canonicalized by.
        references: The text of the references, from that of the digest; None for the one.
        key_info: Edits the certificates.
        signer: Another key that signs than the signer's.
        root: Which of the fake vendor's roots.
        signer_start: From when the signer is valid.
        signer_end: Until when.
    """

    product: str = "GH100"
    version: str = "550.90.07"
    active: tuple[int, ...] = (1,)
    edition: str = "GPU"
    resource: Callable[[int, str], str] | None = None
    body: Callable[[str], str] = _same
    document: Callable[[str], str] = _same
    signature_method: str = ECDSA_SHA384
    digest_method: str = SHA384
    canonicalization: str = C14N
    references: Callable[[str], str] | None = None
    key_info: Callable[[Sequence[bytes]], Sequence[bytes]] = _same
    signer: ec.EllipticCurvePrivateKey | None = None
    root: str = MANIFEST_ROOT
    signer_start: datetime = SIGNER_START
    signer_end: datetime = SIGNER_END


@cache
def signers(
    root: str, start: datetime = SIGNER_START, end: datetime = SIGNER_END
) -> tuple[Holder, Holder, Holder, Holder]:
    """Root, two authorities, signer."""
    second, third = _middle(root)
    last = pki.issue(
        pki.name("HCC RIM L4 Signer", O="NVIDIA Corporation", C="US"),
        pki.p384(f"{root} signer"),
        third,
        start=start,
        life=end - start,
        ca=False,
    )
    return _root(root), second, third, last


@cache
def _root(root: str) -> Holder:
    return pki.issue(pki.name("NVIDIA CoRIM signing Root CA", O="NVIDIA"), pki.p384(root), None)


@cache
def _middle(root: str) -> tuple[Holder, Holder]:
    second = pki.issue(
        pki.name("NVIDIA Reference Value GH100 CA", O="NVIDIA Corporation"),
        pki.p384(f"{root} 2"),
        _root(root),
        life=timedelta(days=10 * 365),
    )
    third = pki.issue(
        pki.name("NVIDIA Reference Value L3 GH100 002", O="NVIDIA Corporation"),
        pki.p384(f"{root} 3"),
        second,
        life=timedelta(days=4 * 365),
    )
    return second, third


def body_text(rim: Rim) -> str:
    """The text of a manifest, without its signature."""
    resources = "\n".join(_resource(rim, index) for index in range(RESOURCES))
    return (
        f'<SoftwareIdentity xmlns="{_SWID}" xmlns:ns0="{_SWID}" xmlns:ns2="{_HASH}" '
        f'corpus="false" name="{rim.product}" patch="false" supplemental="false" '
        f'tagId="fake" version="1.0" tagVersion="0">\n'
        f'    <ns0:Entity name="Fake Vendor" role="softwareCreator tagCreator"/>\n'
        f'    <ns0:Meta xmlns:ns1="{_TCG}" colloquialVersion="{rim.version}" '
        f'edition="{rim.edition}" product="{rim.product}" ns1:BindingSpec="RIMIM"/>\n'
        f'    <ns0:Payload xmlns:SHA384="{_HASH}">\n{resources}\n    </ns0:Payload>\n'
        f"</SoftwareIdentity>"
    )


def _resource(rim: Rim, index: int) -> str:
    active = index in rim.active
    value = golden(index).hex() if active else "0" * 96
    text = (
        f'        <ns0:Resource type="Measurement" index="{index}" active="{active}" '
        f'alternatives="1" ns2:Hash0="{value}" name="Measurement_{index}" size="48"/>'
    )
    return text if rim.resource is None else rim.resource(index, text)


@cache
def mint_rim(rim: Rim) -> bytes:
    """A signed manifest; the same one if nothing differs, since a vendor publishes it once."""
    body = rim.body(body_text(rim))
    digest = base64_text(hashlib.sha384(_canonical(etree.fromstring(body.encode()))).digest())
    reference = (
        f'<ds:Reference URI=""><ds:Transforms><ds:Transform Algorithm="{ENVELOPED}"/>'
        f'<ds:Transform Algorithm="{rim.canonicalization}"/></ds:Transforms>'
        f'<ds:DigestMethod Algorithm="{rim.digest_method}"/>'
        f"<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>"
    )
    if rim.references is not None:
        reference = rim.references(reference)
    chain = rim.key_info(
        [item.der for item in reversed(signers(rim.root, rim.signer_start, rim.signer_end))]
    )
    certificates = "".join(
        f"<ds:X509Certificate>{base64_text(item)}\n</ds:X509Certificate>" for item in chain
    )
    signature = (
        f'<ds:Signature xmlns:ds="{_DSIG}"><ds:SignedInfo>'
        f'<ds:CanonicalizationMethod Algorithm="{rim.canonicalization}"/>'
        f'<ds:SignatureMethod Algorithm="{rim.signature_method}"/>{reference}</ds:SignedInfo>'
        f"<ds:SignatureValue>VALUE</ds:SignatureValue><ds:KeyInfo><ds:X509Data>{certificates}"
        f"</ds:X509Data></ds:KeyInfo></ds:Signature>"
    )
    whole = body.removesuffix("</SoftwareIdentity>") + signature + "</SoftwareIdentity>"
    signed_info = next(etree.fromstring(whole.encode()).iter(f"{{{_DSIG}}}SignedInfo"))
    key = rim.signer or pki.p384(f"{rim.root} signer")
    r, s = decode_dss_signature(
        key.sign(_canonical(signed_info), ec.ECDSA(hashes.SHA384(), deterministic_signing=True))
    )
    value = base64_text(r.to_bytes(48, "big") + s.to_bytes(48, "big"))
    return rim.document(whole.replace("VALUE", value)).encode()


def _canonical(node: "etree._Element") -> bytes:
    # Canonical XML 1.0 and 1.1 differ in attributes of the xml namespace only; there are none.
    return etree.tostring(node, method="c14n", exclusive=False, with_comments=False)
