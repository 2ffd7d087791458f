"""The log from the command line."""

from datetime import timedelta
from pathlib import Path

import pytest
from sigstore_models.rekor.v1 import TransparencyLogEntry as StockEntry

from registry.core import encoding
from registry.core.attestation.bundle import Bundle
from registry.core.attestation.inclusion import open_entry
from registry.core.attestation.trust_config import Instance
from registry.core.attestation.trusted_root import Trust
from registry.core.attestation.verify import open_bundle
from registry.core.keys import PublicKey
from registry.core.tlog import entry
from registry.core.tlog.cose import CoseReceipt
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.core.tlog.rekor import TransparencyLogEntry
from tests.authorities import NOON, Authority, granted
from tests.cli.conftest import Place, Shell

TSA = Authority()


def test_a_checkpoint_is_shown_as_it_was_signed(acme: Shell, place: Place) -> None:
    said = acme("log", "checkpoint")
    origin = VerifierKey.parse(place.vkey).name
    assert said.out.split("\n")[0] == origin
    assert f"\n— {origin} " in said.out


def test_a_checkpoint_extends_the_one_of_before(
    acme: Shell, home: Path, folder: Path, name: str, key: Path
) -> None:
    (home / "before").write_text(acme("log", "checkpoint").out)
    acme("model", "publish", folder, "--name", name, "--version", "1", "--key", key)
    said = acme("log", "checkpoint", "--since", "before", "--json")
    assert said.status == 0
    assert said.value["size"] > int((home / "before").read_text().split("\n")[1])


def test_a_checkpoint_of_another_tree_is_refused(acme: Shell, home: Path) -> None:
    note = acme("log", "checkpoint").out.split("\n")
    note[1] = str(int(note[1]) + 1)
    (home / "before").write_text("\n".join(note))
    said = acme("log", "checkpoint", "--since", "before")
    assert (said.status, "LOG_SIGNATURE" in said.err) == (1, True)


def test_an_entry_is_proved_by_index(acme: Shell, place: Place, home: Path) -> None:
    value = acme("log", "prove", 0, "--out", "receipt", "--json").value
    receipt = Receipt.parse((home / "receipt").read_bytes())
    receipt.verify(value["body"].encode(), VerifierKey.parse(place.vkey))
    assert receipt.index == value["index"] == 0


def test_an_entry_is_proved_in_cose(acme: Shell, place: Place, home: Path) -> None:
    value = acme("log", "prove", 0, "--format", "cose", "--out", "receipt", "--json").value
    receipt = CoseReceipt.parse((home / "receipt").read_bytes())
    receipt.verify(value["body"].encode(), VerifierKey.parse(place.vkey))
    assert encoding.base64_bytes(value["proof"]) == receipt.to_bytes()
    assert receipt.index == value["index"] == 0


def test_an_entry_is_proved_by_record_id(acme: Shell, folder: Path, name: str, key: Path) -> None:
    published = acme(
        "model", "publish", folder, "--name", name, "--version", "1", "--key", key, "--json"
    ).value
    said = acme("log", "prove", published["record_id"], "--json")
    assert said.value["index"] == published["index"]


def test_a_receipt_is_never_written_over_something(acme: Shell, home: Path) -> None:
    (home / "receipt").write_text("mine")
    said = acme("log", "prove", 0, "--out", "receipt")
    assert (said.status, "TARGET_EXISTS" in said.err) == (1, True)


@pytest.mark.parametrize(
    ("which", "reason"),
    [
        ("1000000", "BEYOND_TREE"),
        ("9" * 30, "MALFORMED_DECIMAL"),
        ("007", "MALFORMED_DECIMAL"),
        ("sha256:" + "0" * 64, "UNKNOWN_RECORD"),
        ("nonsense", "MALFORMED_DIGEST"),
    ],
)
def test_what_is_no_entry_cannot_be_proved(acme: Shell, which: str, reason: str) -> None:
    said = acme("log", "prove", which, "--json")
    assert (said.status, said.error["reason"]) == (1, reason)


def trust(place: Place) -> Trust:
    """What a verifier believes who believes this log and one timestamp authority."""
    log_key = VerifierKey.parse(place.vkey)
    instance = Instance(
        url=f"https://{log_key.name}",
        log_key=log_key,
        start=NOON - timedelta(days=1),
        timestamp_authorities=(TSA.chain,),
    )
    return Trust.of(instance.trusted_root())


def test_an_entry_is_proved_to_sigstore_clients(acme: Shell, place: Place, home: Path) -> None:
    said = acme("log", "prove", 0, "--format", "tle", "--out", "entry.json", "--json")
    written = (home / "entry.json").read_bytes()
    assert said.value["proof"].encode() == written
    logged = TransparencyLogEntry.parse(written)
    assert open_entry(logged, trust(place).logs).at is None
    stock = StockEntry.from_json(written)
    assert stock.canonicalized_body == logged.body


def bundle_of_entry_0(acme: Shell, home: Path, name: str, *more: str) -> Bundle:
    """What the operator said of its own key."""
    said = acme("log", "prove", 0, "--format", "bundle", "--out", name, *more)
    assert said.status == 0
    return Bundle.parse((home / name).read_bytes())


def test_a_statement_becomes_a_bundle(acme: Shell, place: Place, home: Path) -> None:
    bundle = bundle_of_entry_0(acme, home, "bundle")
    operator = PublicKey.parse(entry.parse(bundle.entry.body).key_der)
    opened = open_bundle(bundle, trust(place), operator)
    assert operator.key_id.encode() in (opened.payload or b"")
    assert (opened.times, bundle.key_hint) == ((), operator.key_id)


def test_a_bundle_takes_timestamps_over_its_signature(
    acme: Shell, place: Place, home: Path
) -> None:
    bare = bundle_of_entry_0(acme, home, "bare")
    operator = PublicKey.parse(entry.parse(bare.entry.body).key_der)
    (home / "stamp").write_bytes(granted(TSA.token(bare.signature)))
    stamped = bundle_of_entry_0(acme, home, "stamped", "--timestamp", "stamp")
    assert open_bundle(stamped, trust(place), operator).times == (NOON,)
    (home / "other").write_bytes(granted(TSA.token(b"another signature")))
    said = acme("log", "prove", 0, "--format", "bundle", "--timestamp", "other")
    assert (said.status, "TIMESTAMP_IMPRINT" in said.err) == (1, True)


def test_only_a_bundle_takes_timestamps(acme: Shell, home: Path) -> None:
    (home / "stamp").write_bytes(b"")
    assert acme("log", "prove", 0, "--timestamp", "stamp").status == 2
