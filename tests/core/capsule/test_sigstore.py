"""Statements from Sigstore bundles: a capsule carries what was verified, so that it is again."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from registry.core.attestation.bundle import Bundle
from registry.core.attestation.dsse import Envelope
from registry.core.capsule.container import Capsule
from registry.core.capsule.parts import Verified
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.digest import sha256
from registry.core.records import verification
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason
from registry.signing.file import StatementSigner
from tests.authorities import NOON
from tests.mint import AT, Told, World, tell
from tests.private_sigstore import SIGNER, Sigstore

OURS = Sigstore()
ROOT = OURS.root.to_bytes()
OTHER_ROOT = replace(OURS.instance, start=NOON + timedelta(days=1)).trusted_root().to_bytes()


@pytest.fixture(scope="module")
def world() -> World:
    world = World()
    world.keys["acme"] = StatementSigner(OURS.signing_key)
    return world


@pytest.fixture(scope="module")
def told(world: World) -> Told:
    return tell(world)


def bundle_of(told: Told) -> Bundle:
    """The bundle in which the release came."""
    envelope = told.release.envelope
    content = Envelope(envelope.payload, envelope.signature, "")
    return OURS.bundle(content, envelope.record_id)


def capsule(world: World, told: Told, came_in: Bundle, **changes: Any) -> Capsule:
    """A capsule that says, and shows, what was verified of the release."""
    data, record_id = came_in.to_bytes(), told.release.envelope.record_id
    members = {
        "bundle": sha256(data).hex(),
        "trusted_root": sha256(ROOT).hex(),
        "key": OURS.public_key.key_id,
        "issuer": SIGNER.issuer,
        "subject_name": SIGNER.name,
        "signed_at": AT,
        "verified_at": AT,
        "engines": ("one", "another"),
    }
    signer = changes.pop("signer", "operator")
    record_id = changes.pop("record_id", record_id)
    data = changes.pop("data", data)
    roots = changes.pop("roots", [ROOT])
    said = world.register(verification.build(record_id, members | changes), signer)
    made = world.capsule(
        told, verifications=[Verified(world.proved(said), data)], trusted_roots=roots
    )
    assert Capsule.parse(made.to_bytes()) == made
    return made


def judged(world: World, made: Capsule) -> tuple[Verdict, str]:
    report: Report = appraise(made, world.log.key)
    [check] = [item for item in report.checks_now if item.link == "signer/0"]
    return check.verdict, check.reason


def test_what_was_verified_is_verified_again(world: World, told: Told) -> None:
    report = appraise(capsule(world, told, bundle_of(told)), world.log.key)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.VALID)
    [check] = [item for item in report.checks_now if item.link == "signer/0"]
    assert check.detail == (
        f"release: signed by {SIGNER} at 2026-06-01T12:00:00Z at latest, verified again"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"bundle": "11" * 32},
        {"trusted_root": "11" * 32},
        {"key": "11" * 32},
        {"record_id": bytes(32)},
        {"roots": []},
        {"roots": [OTHER_ROOT]},
    ],
    ids=["bundle", "root", "key", "statement", "no root", "another root"],
)
def test_a_bundle_that_is_not_the_one_is_invalid(
    world: World, told: Told, changes: dict[str, Any]
) -> None:
    made = capsule(world, told, bundle_of(told), **changes)
    assert judged(world, made) == (Verdict.INVALID, Reason.CAPSULE_LINK)


def test_a_bundle_by_somebody_else_is_invalid(world: World, told: Told) -> None:
    made = capsule(world, told, bundle_of(told), subject_name="mallory")
    assert judged(world, made) == (Verdict.INVALID, Reason.IDENTITY_MISMATCH)


def test_a_bundle_that_does_not_verify_by_its_root_is_invalid(world: World, told: Told) -> None:
    made = capsule(
        world,
        told,
        bundle_of(told),
        roots=[OTHER_ROOT],
        trusted_root=sha256(OTHER_ROOT).hex(),
    )
    assert judged(world, made) == (Verdict.INVALID, Reason.LOG_TIME)


def test_a_bundle_of_another_statement_is_invalid(world: World, told: Told) -> None:
    """Of a statement that the capsule does not hold, properly verified and recorded."""
    other = OURS.attest()
    content = other.content
    assert isinstance(content, Envelope)
    made = capsule(world, told, other, record_id=content.record_id)
    assert judged(world, made) == (Verdict.INVALID, Reason.CAPSULE_LINK)


def test_what_is_no_bundle_is_invalid(world: World, told: Told) -> None:
    made = capsule(world, told, bundle_of(told), data=b"{}", bundle=sha256(b"{}").hex())
    assert judged(world, made) == (Verdict.INVALID, Reason.SIGSTORE_BUNDLE)


def test_only_the_operator_says_what_was_verified(world: World, told: Told) -> None:
    made = capsule(world, told, bundle_of(told), signer="acme")
    assert judged(world, made) == (Verdict.INDETERMINATE, Reason.CAPSULE_LINK)
    report = appraise(made, world.log.key)
    [check] = [item for item in report.checks_now if item.link == "verification/0"]
    assert (check.verdict, check.reason) == (Verdict.INVALID, Reason.ROLE)


def test_a_verification_that_cannot_be_read_leaves_its_bundle_open(
    world: World, told: Told
) -> None:
    made = capsule(world, told, bundle_of(told))
    broken = replace(made, verifications=(replace(made.verifications[0], said=made.operator),))
    assert judged(world, broken) == (Verdict.INDETERMINATE, Reason.CAPSULE_LINK)


@pytest.mark.parametrize("roots", [(ROOT, ROOT), (ROOT, OTHER_ROOT), (OTHER_ROOT, ROOT)])
def test_trusted_roots_stand_in_one_order(
    world: World, told: Told, roots: tuple[bytes, ...]
) -> None:
    made = replace(capsule(world, told, bundle_of(told)), trusted_roots=roots)
    if list(roots) == sorted(set(roots), key=sha256):
        assert Capsule.parse(made.to_bytes()).trusted_roots == roots
    else:
        with pytest.raises(MalformedError) as caught:
            Capsule.parse(made.to_bytes())
        assert caught.value.reason is Reason.MALFORMED_CAPSULE
