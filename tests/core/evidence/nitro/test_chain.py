"""The chain of a Nitro document: who may issue whom, with what keys."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ObjectIdentifier, UnrecognizedExtension

from registry.core.evidence.nitro.examine import distribution_points
from registry.core.evidence.nitro.findings import NitroFinding
from tests.core.evidence.nitro.judging import examined, judged, refused
from tools.fake_vendor import pki
from tools.fake_vendor.nitro import (
    INSTANCE,
    LEAF,
    REGION,
    ROOT,
    ZONE,
    Spec,
    mint,
    with_level,
)

DAY = timedelta(days=1)
UNKNOWN = UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
OTHER_KEY = x509.AuthorityKeyIdentifier(b"\x01" * 20, None, None)

SIGNS_ONLY = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
NO_ISSUER = ((x509.BasicConstraints(ca=True, path_length=1), True), (SIGNS_ONLY, True))


def test_the_chain_of_a_real_document_is_good() -> None:
    assert judged().verdict.name == "VALID"


@pytest.mark.parametrize(
    ("place", "changes", "finding"),
    [
        (2, {"ca": False, "path_length": None}, NitroFinding.NOT_AN_AUTHORITY),
        (2, {"usage": False}, NitroFinding.NOT_AN_AUTHORITY),
        (2, {"usage": False, "extensions": NO_ISSUER}, NitroFinding.NOT_AN_AUTHORITY),
        (0, {"path_length": 2}, NitroFinding.PATH_LENGTH),
        (1, {"path_length": 1}, NitroFinding.PATH_LENGTH),
        (2, {"path_length": 0}, NitroFinding.PATH_LENGTH),
        (4, {"ca": True}, NitroFinding.KEY_USAGE),
        (4, {"usage": False}, NitroFinding.KEY_USAGE),
        (1, {"key": pki.p256("nitro region")}, NitroFinding.KEY_KIND),
        (3, {"sha256": True}, NitroFinding.KEY_KIND),
        (2, {"extensions": ((OTHER_KEY, False),)}, NitroFinding.NOT_ISSUED),
        (3, {"extensions": ((UNKNOWN, True),)}, NitroFinding.CERTIFICATE),
    ],
    ids=[
        "zone is no authority",
        "zone says nothing of itself",
        "zone's key is not for certificates",
        "root allows fewer",
        "region allows fewer",
        "zone allows none",
        "leaf is an authority",
        "leaf says nothing of itself",
        "key on another curve",
        "another hash",
        "key of another issuer",
        "critical extension",
    ],
)
def test_a_chain_with_one_bad_certificate_is_refused(
    place: int, changes: dict[str, Any], finding: str
) -> None:
    spec = Spec(levels=with_level(place, **changes))
    assert refused(spec)["N3"] == {finding}


def test_a_leaf_on_another_curve_is_refused() -> None:
    levels = with_level(4, key=pki.p256("leaf"))
    spec = Spec(levels=levels, signature=lambda found: bytes(32) + found)
    assert refused(spec)["N3"] == {NitroFinding.KEY_KIND}
    assert refused(spec)["N5"] == {NitroFinding.KEY_KIND}


def test_a_certificate_that_cannot_be_read_leaves_nothing_to_check() -> None:
    for der in (b"\x30\x00", b"x" * 700, mint().chain[1].der + b"\0"):
        minted = mint(Spec(fields=lambda all_, der=der: all_ | {"certificate": der}))  # type: ignore[misc]  # der is bound here
        checks = {item.check: item for item in examined(minted).checks}
        assert checks["N3"].finding == NitroFinding.CERTIFICATE
        assert {checks[name].finding for name in ("N4", "N5", "N9")} == {"NOT_REACHED"}
        assert checks["N6"].outcome == "pass"


def test_another_documents_intermediates_do_not_fit() -> None:
    other = mint(Spec(root="nitro"))
    stranger = mint(Spec(levels=(ROOT, REGION, ZONE, INSTANCE, LEAF), root="stranger"))
    bundle = [other.chain[0].der, *(holder.der for holder in stranger.chain[1:4])]
    spec = Spec(fields=lambda all_: all_ | {"cabundle": bundle})
    assert refused(spec)["N3"] == {NitroFinding.NOT_ISSUED}


def test_a_document_says_where_its_revocation_lists_are() -> None:
    minted = mint(Spec(crl_base="http://crl.example"))
    assert distribution_points(minted.evidence) == {
        "http://crl.example/crl/root.crl": minted.chain[0].certificate.subject,
        "http://crl.example/crl/region.crl": minted.chain[1].certificate.subject,
    }


def test_a_leaf_that_its_instance_did_not_issue_is_refused() -> None:
    # Whoever makes a leaf of the right name for a key of their own puts it below a genuine chain.
    genuine = mint()
    stranger = mint(Spec(root="stranger"))
    assert stranger.chain[-1].certificate.issuer == genuine.chain[-2].certificate.subject
    key = stranger.chain[-1].key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    spec = Spec(fields=lambda all_: all_ | {"certificate": stranger.chain[-1].der}, signer=key)
    assert refused(spec) == {"N3": {NitroFinding.NOT_ISSUED}}
