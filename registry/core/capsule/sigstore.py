"""Verified bundles: statements that came signed by a name, verified once more from the capsule.

The operator says in the log what it verified, against which trusted root. The capsule carries the
bundle and that root, so whoever reads it need not take the operator's word for the signer's name.
"""

from collections.abc import Mapping, Sequence

from registry.core import digest, verdict
from registry.core.attestation.bundle import Bundle
from registry.core.attestation.trusted_root import Trust
from registry.core.attestation.verify import Opened, open_bundle
from registry.core.capsule.container import Capsule
from registry.core.capsule.links import Link, judge
from registry.core.capsule.signers import Read
from registry.core.certificates.signing import SigningCertificate
from registry.core.encoding import time_text
from registry.core.records.verification import Verification
from registry.core.verdict import Check
from registry.errors import Reason, VerificationError


def judge_bundles(
    capsule: Capsule, said: Sequence[Read | None], statements: Mapping[str, Read]
) -> dict[str, Link]:
    """A link for each bundle: it verifies, and it is the one that the operator speaks of.

    Args:
        capsule: Where the bundles and trusted roots are.
        said: The operator's verifications, in the order of their bundles; None where one cannot be
            read.
        statements: Other statements of the capsule by record id.
    """
    roots = {digest.sha256(root).hex(): root for root in capsule.trusted_roots}
    links = {}
    for number, (item, read) in enumerate(zip(capsule.verifications, said, strict=True)):
        name = f"signer/{number}"
        links[name] = Link.both(_judge(name, item.bundle, read, roots, statements))
    return links


def _judge(
    name: str,
    bundle: bytes,
    read: Read | None,
    roots: Mapping[str, bytes],
    statements: Mapping[str, Read],
) -> Check:
    if read is None:
        text = "what the operator verified cannot be read"
        return verdict.indeterminate(name, Reason.CAPSULE_LINK, text)
    return judge(name, lambda: _verify(bundle, read, roots, statements))


def _verify(
    data: bytes, read: Read, roots: Mapping[str, bytes], statements: Mapping[str, Read]
) -> str:
    said: Verification = read.statement.predicate
    _same("bundle", said.bundle, digest.sha256(data).hex())
    root = roots.get(said.trusted_root)
    _same("trusted root", said.trusted_root, said.trusted_root if root else "none")
    bundle = Bundle.parse(data)
    opened = open_bundle(bundle, Trust.parse(root or b""), said.identity)
    record_id = digest.text(opened.digest)
    _same("statement", read.statement.subject[0].digest.sha256, opened.digest.hex())
    _same("key", said.key, SigningCertificate.parse(bundle.certificate).key.key_id)
    about = statements.get(record_id)
    held = about.envelope if about is not None else None
    found = (held.keyid, held.signature) if held is not None else ("", b"")
    _same("signature", f"{said.key} {bundle.signature.hex()}", f"{found[0]} {found[1].hex()}")
    return f"{about.name if about else record_id}: {_text(opened, said)}"


def _text(opened: Opened, said: Verification) -> str:
    times = time_text(min(opened.times)) if opened.times else "an unknown time"
    return f"signed by {said.identity} at {times} at latest, verified again"


def _same(what: str, expected: str, actual: str) -> None:
    if actual != expected:
        raise VerificationError(
            Reason.CAPSULE_LINK,
            f"this is another {what} than the one that the operator verified",
            expected=expected,
            actual=actual,
        )
