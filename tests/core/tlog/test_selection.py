"""Entries are found by who signed and what was signed, whatever kind of entry they are."""

import base64

import pytest

from registry.core.digest import sha256
from registry.core.tlog import entry, merkle
from registry.core.tlog.selection import MAX_WANTED, Selection
from registry.errors import LimitExceededError, Reason
from registry.signing.file import StatementSigner
from tests.mint import dataset_statement
from tests.private_certificates import CA, IDENTITY, OIDC_ISSUER, Leaf

SIGNER = StatementSigner.generate()
ENVELOPE = SIGNER.sign(dataset_statement())
BY_KEY = entry.write(ENVELOPE.record_id, ENVELOPE.signature, SIGNER.public_key.der)
BY_NAME = entry.write_certified(
    ENVELOPE.record_id, ENVELOPE.signature, Leaf().plain(CA.root().below("issuing"))
)
BY_NOBODY = entry.write_certified(
    ENVELOPE.record_id, ENVELOPE.signature, Leaf(issuer_raw=b"x").plain(CA.root().below("issuing"))
)
WHAT = sha256(b"x")
FOREIGN = b"\x01 of another log, about " + WHAT + b" by carol@example.com"

EVERYTHING = Selection()
KEY = Selection(key_ids=frozenset([SIGNER.public_key.key_id]))
NAME = Selection(identities=frozenset([IDENTITY, "other"]))
NAME_OF = Selection(identities=frozenset([IDENTITY]), issuers=frozenset([OIDC_ISSUER]))
OF_OTHER = Selection(identities=frozenset([IDENTITY]), issuers=frozenset(["https://other"]))
SIGNED = Selection(digests=frozenset([ENVELOPE.record_id]))
LEAF = Selection(digests=frozenset([merkle.leaf_hash(BY_KEY)]))
KEY_AND_OTHER = Selection(
    key_ids=frozenset([SIGNER.public_key.key_id]), digests=frozenset([sha256(b"y")])
)


@pytest.mark.parametrize(
    ("selection", "by_key", "by_name"),
    [
        (EVERYTHING, True, True),
        (KEY, True, False),
        (NAME, False, True),
        (NAME_OF, False, True),
        (OF_OTHER, False, False),
        (SIGNED, True, True),
        (LEAF, True, False),
        (KEY_AND_OTHER, False, False),
    ],
    ids=["all", "key", "name", "name of", "name of another", "digest", "leaf", "both"],
)
def test_an_entry_of_ours_is_compared_field_by_field(
    selection: Selection, *, by_key: bool, by_name: bool
) -> None:
    assert (selection.matches(BY_KEY), selection.matches(BY_NAME)) == (by_key, by_name)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (FOREIGN, WHAT),
        (WHAT.hex().encode(), WHAT),
        (base64.b64encode(WHAT), WHAT),
        (b"anything", merkle.leaf_hash(b"anything")),
    ],
    ids=["raw", "hexadecimal", "base64", "leaf hash"],
)
def test_a_foreign_entry_is_found_by_a_digest_in_it(body: bytes, wanted: bytes) -> None:
    assert Selection(digests=frozenset([wanted])).matches(body)
    assert not Selection(digests=frozenset([sha256(b"y")])).matches(body)


def test_a_foreign_entry_is_found_by_a_name_in_it() -> None:
    assert Selection(identities=frozenset(["carol@example.com"])).matches(FOREIGN)
    assert not Selection(identities=frozenset(["dave@example.com"])).matches(FOREIGN)


def test_a_certificate_that_contradicts_itself_is_still_shown_to_whom_it_names() -> None:
    assert NAME.matches(BY_NOBODY)
    assert not Selection(identities=frozenset(["somebody else"])).matches(BY_NOBODY)


def test_a_selection_is_bounded() -> None:
    Selection(identities=frozenset(map(str, range(MAX_WANTED))))
    with pytest.raises(LimitExceededError) as caught:
        Selection(identities=frozenset(map(str, range(MAX_WANTED + 1))))
    assert caught.value.reason is Reason.SELECTION
