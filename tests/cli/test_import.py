"""``provreg import``, and what ``trace`` shows of it: a real registry, proofs of our own."""

import builtins
import json
import re
import ssl
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import msgspec
import pytest

from registry.client.channel import Connection, Target
from registry.client.evidence import EvidenceCalls
from registry.client.foreign import import_proof
from registry.client.registry import RegistryClient
from registry.core.attestation.dsse import Envelope
from registry.core.digest import sha256
from registry.core.encoding import time_text
from registry.core.evidence.claims import Family
from registry.core.evidence.distrust import Entry, Selector
from registry.core.foreign.captured import PartRole
from registry.core.foreign.near.documents import Node
from registry.core.foreign.proof import System
from registry.core.foreign.systems import Examined, examine
from registry.core.records import foreign_proof
from registry.core.tlog.note import VerifierKey
from registry.errors import ForbiddenError, RefusedError
from tests.certificates import PrivateAuthority
from tests.cli.conftest import Place, Said, Shell
from tests.cli.test_trace import record
from tests.http_handler import answering
from tools.fake_vendor import aci, air, near, opengradient
from tools.fake_vendor import opengradient_settlement as chain
from tools.fake_vendor.caught import NOON, Caught
from tools.fake_vendor.publishing import publish
from tools.fake_vendor.services import Reply, Services

AT = ("--at", time_text(NOON))

MINTED: dict[str, Callable[[], Caught]] = {
    "aci": aci.mint,
    "air": air.mint,
    "near": lambda: near.mint(near.Spec(algorithms=("ecdsa", "ed25519"))),
    "opengradient": opengradient.mint,
}
SYSTEMS = pytest.mark.parametrize("system", list(MINTED))


def written(folder: Path, caught: Caught) -> Path:
    """What was caught, in files that are called by what they are."""
    folder.mkdir()
    for number, (role, data) in enumerate(caught.parts):
        (folder / f"{role}.{number}").write_bytes(data)
    for item in caught.endorsements.items:
        (folder / f"{item.role}.{item.sha256[:8]}").write_bytes(item.data)
    return folder


def told(caught: Caught) -> list[str]:
    """The options that believe the fake vendor and tell the nonce."""
    names = {"Intel SGX": "intel-sgx", "AWS Nitro": "aws-nitro"}
    options = [
        text
        for root in caught.policy.roots
        for text in ("--root", f"{names[root.vendor]}={root.sha256}")
    ]
    return options if caught.nonce is None else [*options, "--nonce", caught.nonce.hex()]


def response(caught: Caught) -> bytes:
    return dict(caught.parts)[PartRole.RESPONSE]


@SYSTEMS
def test_a_proof_is_judged_offline_without_a_key(shell: Shell, home: Path, system: str) -> None:
    caught = MINTED[system]()
    said = shell("import", system, written(home / "caught", caught), *AT, *told(caught), "--json")
    assert (said.status, said.value["proof"]["verdict"]) == (0, "VALID")
    assert "record_id" not in said.value
    assert said.value["proof"]["environment"]["provreg.configured-roots"]
    text = shell("import", system, home / "caught", *AT, *told(caught)).out
    assert "NOT COVERED" in text
    assert "nothing was sent" in text


@SYSTEMS
def test_a_proof_is_kept_and_traced_by_its_output_from_the_bytes(
    acme: Shell, home: Path, key: Path, system: str
) -> None:
    caught = MINTED[system]()
    folder = written(home / "caught", caught)
    options = ["--key", key, *AT, *told(caught), "--json"]
    first = acme("import", system, folder, *options)
    assert (first.status, first.value["sent"] > 0) == (0, True)
    again = acme("import", system, folder, *options)
    assert (again.value["index"], again.value["sent"]) == (first.value["index"], 0)
    (home / "answer").write_bytes(response(caught))
    roots = [text for text in told(caught) if text != "--nonce"][:2]
    found = acme("trace", "answer", *roots, "--json")
    assert found.status == 0
    [item] = found.value["foreign"]
    assert (item["record_id"], item["verdict"], item["principal"]) == (
        first.value["record_id"],
        "VALID",
        "acme",
    )
    assert item["here"]["uncovered"] == first.value["proof"]["uncovered"]
    output = acme("trace", f"sha256:{first.value['proof']['output']}", *roots)
    assert "NOT COVERED" in output.out
    assert "read again from the bytes that were kept" in output.out


def test_a_root_that_only_the_importer_names_is_not_believed_by_who_traces(
    acme: Shell, home: Path, key: Path
) -> None:
    caught = air.mint(air.Spec(claims=lambda claims: {**claims, -65545: 7}))
    acme("import", "air", written(home / "caught", caught), "--key", key, *AT, *told(caught))
    proof = examine(System.AIR, caught.captured, caught.asked()).proof
    found = acme("trace", f"sha256:{proof.output}", "--json")
    mine = [
        item for item in found.value["foreign"] if item["here"]["claims"]["sequence_number"] == "7"
    ]
    assert mine[0]["proof"]["verdict"] == "VALID"
    assert mine[0]["verdict"] == "INVALID"
    shown = acme("trace", f"sha256:{proof.output}").out
    assert "next: if you trust this root, name it with --root" in shown


def test_without_evidence_a_proof_is_open_and_kept(acme: Shell, home: Path, key: Path) -> None:
    caught = near.mint(near.Spec(response=b'{"answer": "open"}'))
    folder = written(home / "caught", caught)
    for file in folder.glob("report*"):
        file.unlink()
    said = acme("import", "near", folder, "--key", key, *AT, "--json")
    assert (said.status, said.value["proof"]["verdict"]) == (4, "INDETERMINATE")
    assert said.value["next"]
    (home / "answer").write_bytes(response(caught))
    found = acme("trace", "answer", "--json")
    assert found.status == 4
    assert found.value["foreign"][0]["here"]["code_strength"] == "none"


def test_what_is_invalid_is_not_registered(acme: Shell, home: Path, key: Path) -> None:
    caught = aci.mint(aci.Spec(signer=9))
    folder = written(home / "caught", caught)
    said = acme("import", "aci", folder, "--key", key, *AT, *told(caught), "--json")
    assert (said.status, said.error["reason"]) == (1, "PROOF_MISMATCH")
    assert said.error["actual"] == "BAD_SIGNATURE"
    offline = acme("import", "aci", folder, *AT, *told(caught), "--json")
    assert (offline.status, offline.value["proof"]["verdict"]) == (1, "INVALID")


def test_a_request_may_be_withheld_and_the_proof_is_then_open_to_others(
    acme: Shell, home: Path, key: Path, place: Place
) -> None:
    request = {**opengradient.question(), "seed": 1}
    spec = opengradient.Spec(
        request=request, hashed={**opengradient.question(), "temperature": 0.0}, content="withheld"
    )
    caught = opengradient.mint(spec)
    folder = written(home / "caught", caught)
    said = acme(
        *("import", "opengradient", folder, "--key", key, *AT, *told(caught)),
        *("--withhold", "request", "--json"),
    )
    assert said.status == 0
    assert [item["role"] for item in said.value["proof"]["raw"] if item.get("withheld")] == [
        "request"
    ]
    kept = dict(caught.parts)[PartRole.REQUEST]
    stored = place.running.data / "blobs"
    assert not any(sha256(kept).hex() in path.name for path in stored.rglob("*"))
    (home / "answer").write_bytes(response(caught))
    found = acme("trace", "answer", *told(caught)[:2], "--json")
    [item] = found.value["foreign"]
    assert (found.status, item["verdict"], item["reason"]) == (4, "INDETERMINATE", "UNKNOWN_BLOB")


def test_a_withheld_response_is_read_again_by_who_has_it(
    acme: Shell, home: Path, key: Path
) -> None:
    caught = near.mint(near.Spec(response=b'{"answer": "mine"}'))
    folder = written(home / "caught", caught)
    said = acme(
        *("import", "near", folder, "--key", key, *AT, *told(caught)),
        *("--withhold", "response"),
    )
    assert "withheld     response" in said.out
    assert "kept in clear for who may read the registry: request\n" in said.out
    (home / "answer").write_bytes(response(caught))
    found = acme("trace", "answer", *told(caught)[:2], "--json")
    assert (found.status, found.value["foreign"][0]["verdict"]) == (0, "VALID")


def client_of(place: Place) -> RegistryClient:
    target = Target.parse(place.running.address)
    connection = Connection(target, token=place.publisher.token)
    return RegistryClient(connection, VerifierKey.parse(place.vkey))


def open_proof(content: bytes) -> tuple[Examined, list[bytes]]:
    caught = near.mint(near.Spec(response=content)).without(PartRole.REPORT)
    examined = examine(System.NEAR, caught, near.mint().asked())
    return examined, [data for items in caught.parts.values() for data in items]


def no_longer_believed() -> Entry:
    selector = Selector(family=Family.INTEL_DCAP, claims={"tcb_status": "UpToDate"})
    return Entry(selector=selector, effective_from="2099-01-01T00:00:00Z", reason="robbed")


def test_what_the_registry_distrusts_now_was_valid_then(
    acme: Shell, home: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught = near.mint(near.Spec(response=b'{"answer": "distrusted"}'))
    folder = written(home / "caught", caught)
    assert acme("import", "near", folder, "--key", key, *AT, *told(caught)).status == 0
    (home / "answer").write_bytes(response(caught))
    roots = told(caught)[:2]
    assert acme("trace", "answer", *roots).status == 0
    # On the list of this registry it would stand for all other tests, too.
    listed = SimpleNamespace(statement=SimpleNamespace(predicate=no_longer_believed()))
    monkeypatch.setattr(EvidenceCalls, "distrusted", lambda _: [listed])
    said = acme("trace", "answer", *roots, "--json")
    [item] = said.value["foreign"]
    assert (said.status, item["verdict"], item["verdict_then"]) == (1, "INVALID", "VALID")
    text = acme("trace", "answer", *roots).out
    assert "EVIDENCE_DISTRUSTED" in text
    assert "THEN VALID" in text


def test_an_importer_may_bring_what_is_distrusted(shell: Shell, home: Path) -> None:
    caught = near.mint()
    folder = written(home / "caught", caught)
    listed = msgspec.json.encode([{"entry": no_longer_believed()}])
    (home / "distrust.json").write_bytes(listed)
    options = (*AT, *told(caught), "--distrust", "distrust.json", "--json")
    said = shell("import", "near", folder, *options)
    [found] = [item for item in said.value["proof"]["layers"] if item["layer"] == "attestation"]
    assert (said.status, found["finding"]) == (1, "EVIDENCE_DISTRUSTED")


def test_a_statement_without_its_bytes_is_refused(place: Place) -> None:
    content = b'{"answer": "gone"}'
    examined, parts = open_proof(content)
    rest = [data for data in parts if data != content]
    with client_of(place) as client, pytest.raises(RefusedError, match="MISSING_BLOB"):
        import_proof(client, examined, rest, place.publisher.signer)


def test_who_lies_about_a_proof_is_found_out_by_who_traces(
    acme: Shell, home: Path, place: Place
) -> None:
    content = b'{"answer": "lied"}'
    examined, parts = open_proof(content)
    said = msgspec.structs.replace(examined.proof, uncovered=())
    lied = Examined(said, examined.outputs, None)
    with client_of(place) as client:
        import_proof(client, lied, parts, place.publisher.signer)
    (home / "answer").write_bytes(content)
    found = acme("trace", "answer", "--json")
    [item] = found.value["foreign"]
    assert (found.status, item["verdict"], item["reason"]) == (1, "INVALID", "PROOF_MISMATCH")


def test_a_node_imports_nothing(place: Place) -> None:
    examined, _ = open_proof(b'{"answer": "node"}')
    statement = foreign_proof.build(examined.proof, examined.outputs)
    envelope: Envelope = place.node.signer.sign(statement)
    target = Target.parse(place.running.address)
    connection = Connection(target, token=place.node.token)
    with (
        RegistryClient(connection, VerifierKey.parse(place.vkey)) as client,
        pytest.raises(ForbiddenError, match="ROLE"),
    ):
        client.register(envelope, place.node.signer.public_key)


def test_a_capsule_carries_the_proof_of_an_output_that_has_a_receipt_too(
    acme: Shell, home: Path, folder: Path, key: Path, place: Place
) -> None:
    content, model = b"an answer with two proofs", ("--name", "acme/two-proofs", "--version", "1")
    assert acme("model", "publish", folder, *model, "--key", key).status == 0
    record(place, "acme/two-proofs@1", content, b"two proofs")
    caught = near.mint(near.Spec(response=content))
    acme("import", "near", written(home / "caught", caught), "--key", key, *AT, *told(caught))
    (home / "answer").write_bytes(content)
    roots = told(caught)[:2]
    traced = acme("trace", "answer", "--capsule", "answer.capsule", *roots, "--json")
    assert traced.status == 0
    assert traced.value["verdict_now"] == "VALID"
    assert traced.value["foreign"][0]["verdict"] == "VALID"
    [fact] = traced.value["facts"]["foreign"]
    # By the vendors' own roots: whoever reads a capsule names none.
    assert (fact["said"], fact["here"], fact["reason"]) == ("VALID", "INVALID", "EVIDENCE_REFUSED")
    verified = acme("verify", "answer.capsule", "--output", "answer")
    assert verified.status == 0
    assert "foreign proof" in verified.out
    assert "NOT COVERED" in verified.out


def test_an_output_that_nobody_imported_stays_unknown(acme: Shell, home: Path) -> None:
    (home / "answer").write_bytes(b"nobody's")
    said: Said = acme("trace", "answer", "--json")
    assert (said.status, said.error["reason"]) == (1, "UNKNOWN_OUTPUT")


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["aci", "misnamed.json"], 2, "BAD_SETTING"),
        (["aci", "request=receipt.json"], 1, "FOREIGN_PART"),
        (
            ["near", "signature=x", "request=receipt.json", "request=x"],
            1,
            "FOREIGN_PART",
        ),
        (["air", "receipt.json", "--nonce", ""], 2, "BAD_SETTING"),
        (["air", "receipt.json", "--nonce", "zz"], 1, "MALFORMED_HEX"),
        (["air", "receipt.json", "--model", "zz"], 1, "MALFORMED_DIGEST"),
        (["air", "receipt.json", "--root", "x=1"], 2, "BAD_SETTING"),
        (["air", "receipt.json", "--at", "1970-01-01"], 1, "BAD_TIME"),
        (["air", "receipt.json", "--fetched-at", "1970-01-01"], 1, "BAD_TIME"),
    ],
    ids=["name", "no receipt", "two requests", "nonce", "hex", "model", "root", "at", "fetched"],
)
def test_what_cannot_be_meant_is_refused(
    shell: Shell, home: Path, arguments: list[str], status: int, reason: str
) -> None:
    for name in ("misnamed.json", "receipt.json", "x"):
        (home / name).write_bytes(name.encode())
    said = shell("import", *arguments, "--json")
    assert (said.status, said.error["reason"]) == (status, reason)


def test_without_the_extra_it_says_which(
    shell: Shell, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = written(home / "caught", opengradient.mint()), builtins.__import__

    def importing(name: str, *rest: Any) -> Any:
        if name == "Crypto.Hash":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", importing)
    said = shell("import", "opengradient", folder, *AT, "--json")
    assert (said.status, said.error["reason"]) == (3, "MISSING_EXTRA")
    assert "provreg[foreign]" in said.error["hint"]


def test_a_system_that_is_not_read_here_is_not_understood(shell: Shell, home: Path) -> None:
    (home / "receipt.json").write_bytes(b"{}")
    assert shell("import", "tinfoil", "receipt.json").status == 2


def test_a_member_that_would_forge_a_line_is_shown_escaped(shell: Shell, home: Path) -> None:
    def forge(receipt: dict[str, object]) -> dict[str, object]:
        return {**receipt, "model": "x\nVALID  everything"}

    caught = aci.mint(aci.Spec(receipt=forge))
    said = shell("import", "aci", written(home / "caught", caught), *AT, *told(caught))
    assert "\nVALID  everything" not in said.out
    assert json.dumps("x\nVALID  everything")[1:-1] in said.out


# --- Fetching. ---


@pytest.fixture
def vendors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    with Services() as services:
        for name, value in services.environment().items():
            monkeypatch.setenv(name, value)
        yield services


def test_what_proves_an_answer_is_fetched_kept_and_traced(
    *, acme: Shell, home: Path, key: Path, vendors: Services
) -> None:
    caught = near.mint(
        near.Spec(algorithms=("ed25519",), response=b'{"id": "c-1", "a": "fetched"}')
    )
    parts = dict(caught.parts)
    quote = Node.of(json.loads(parts[PartRole.REPORT])).quote
    publish(vendors, Family.INTEL_DCAP, quote, caught.endorsements)
    (home / "response").write_bytes(parts[PartRole.RESPONSE])
    (home / "request").write_bytes(parts[PartRole.REQUEST])
    options = [*AT, *told(caught), "--save", "caught", "--key", key, "--json"]
    signer = json.loads(parts[PartRole.SIGNATURE])["signing_address"]
    asked = f"signing_algo=ed25519&signing_address={signer}&nonce={caught.nonce.hex()}"  # type: ignore[union-attr]  # it has one
    vendors.add("/v1/signature/c-1?signing_algo=ed25519", Reply(parts[PartRole.SIGNATURE]))
    vendors.add(f"/v1/attestation/report?{asked}", Reply(parts[PartRole.REPORT]))
    files = ("response", "request")
    fetch = ("--fetch", vendors.url, "--fetch-endorsements")
    said = acme("import", "near", *files, *fetch, *options)
    assert (said.status, said.value["proof"]["verdict"]) == (0, "VALID")
    assert said.value["missed"] == ["signature ecdsa: status 404"]
    assert {item["role"] for item in said.value["fetched"]} >= {"signature", "report"}
    # What was kept is taken again, without anybody being asked.
    vendors.replies.clear()
    again = acme("import", "near", *files, "caught", *options)
    assert (again.status, again.value["index"]) == (0, said.value["index"])
    assert "fetched" not in again.value
    assert acme("trace", "response", *told(caught)[:2]).status == 0


def test_what_is_missing_is_told_beside_what_was_made_of_the_rest(
    shell: Shell, home: Path, vendors: Services
) -> None:
    caught = near.mint(near.Spec(algorithms=("ed25519",), response=b'{"id": "c-2"}'))
    parts = dict(caught.parts)
    (home / "response").write_bytes(parts[PartRole.RESPONSE])
    vendors.add("/v1/signature/c-2?signing_algo=ed25519", Reply(parts[PartRole.SIGNATURE]))
    said = shell("import", "near", "response", "--fetch", vendors.url, *AT)
    assert said.status == 4
    assert "NOT FETCHED  report ed25519: status 404" in said.out
    assert "fetched      signature, " in said.out
    assert re.search(r"nonce        [0-9a-f]{64}, to be told", said.out)


def test_a_token_goes_to_the_host_that_was_named_and_into_no_output(
    shell: Shell, home: Path, vendors: Services
) -> None:
    (home / "token").write_text("s3cret-of-mine\n")
    given = ("--fetch", vendors.url, "--fetch-id", "x", "--fetch-token-file", "token")
    said = shell("import", "aci", *given, "--json")
    assert (said.status, said.error["reason"]) == (3, "REMOTE_STATUS")
    assert "s3cret" not in said.out + said.err
    assert vendors.asked


@pytest.mark.parametrize(
    ("arguments", "reason", "status"),
    [
        (("near", "response", "--fetch", "http://gateway.example"), "BAD_SETTING", 2),
        (("near", "response", "--fetch-id", "x"), "BAD_SETTING", 2),
        (("air", "response", "--fetch", "https://localhost:1"), "BAD_SETTING", 2),
        (("near", "response", "--fetch", "https://localhost:1", "--nonce", "00"), "BAD_SETTING", 2),
        (("near", "missing.json"), "BAD_SETTING", 2),
        (("near", "response-missing.json"), "BAD_SETTING", 2),
        (("near", "response=missing.json"), "BAD_SETTING", 2),
        (("near", "response=headers"), "FOREIGN_PART", 1),
        (("near",), "FOREIGN_PART", 1),
        (("near", "response", "--fetch", "https://localhost:1"), "FOREIGN_PART", 1),
    ],
    ids=range(10),
)
def test_what_cannot_be_asked_or_read_is_refused_before_anybody_is_asked(
    *, shell: Shell, home: Path, arguments: tuple[str, ...], reason: str, status: int
) -> None:
    (home / "response").write_bytes(b"{}")
    (home / "headers").write_bytes(b"HTTP/1.1 200 OK\r\n\r\n{}")
    said = shell("import", *arguments, "--json")
    assert (said.status, said.error["reason"]) == (status, reason)
    assert not said.err.startswith("Traceback")


def test_headers_before_a_body_are_named_and_how_to_save_it(shell: Shell, home: Path) -> None:
    caught = near.mint()
    folder = written(home / "caught", caught)
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    [file] = folder.glob("response*")
    file.write_bytes(head + file.read_bytes())
    said = shell("import", "near", folder, *AT, *told(caught), "--json")
    assert (said.status, said.error["reason"]) == (1, "FOREIGN_PART")
    assert "curl -o" in said.error["hint"]


def test_a_settled_response_is_imported_from_files(acme: Shell, home: Path, key: Path) -> None:
    mine = opengradient.mint(opengradient.Spec(content="settled"))
    batch = chain.dump([chain.proof_of(mine), chain.another(1)])
    caught = chain.settled(mine, batch, chain.receipt(chain.batch_event(batch)))
    said = acme(
        *("import", "opengradient", written(home / "caught", caught), "--key", key),
        *(*AT, *told(caught), "--json"),
    )
    assert (said.status, said.value["proof"]["parser_version"]) == (0, "opengradient/2")
    (home / "answer").write_bytes(response(caught))
    found = acme("trace", "answer", *told(caught)[:2], "--json")
    assert found.value["foreign"][0]["verdict"] == "VALID"
    claims = found.value["foreign"][0]["here"]["claims"]
    assert claims["settlement_blob"] == chain.BLOB_ID


def test_an_inference_on_the_chain_is_imported_and_found(
    acme: Shell, home: Path, key: Path
) -> None:
    (home / "transaction.json").write_text(json.dumps(chain.receipt(chain.inference_event())))
    said = acme("import", "opengradient", "transaction.json", "--key", key, *AT, "--json")
    assert (said.status, said.value["proof"]["verdict"]) == (4, "INDETERMINATE")
    found = acme("trace", f"sha256:{said.value['proof']['output']}", "--json")
    assert found.value["foreign"][0]["here"]["claims"]["model_cid"] == "QmModel"


@pytest.mark.parametrize("token", ["sécret", "two\nlines"])
def test_what_is_no_token_is_sent_to_nobody(
    shell: Shell, home: Path, vendors: Services, token: str
) -> None:
    (home / "token").write_text(token)
    given = ("--fetch", vendors.url, "--fetch-id", "x", "--fetch-token-file", "token")
    said = shell("import", "aci", *given, "--json")
    assert (said.status, said.error["reason"]) == (2, "BAD_SETTING")
    assert token not in said.err
    assert vendors.asked == []


class Gateway(BaseHTTPRequestHandler):
    """An ACI gateway that hands out one receipt, to whoever has the key."""

    receipt: ClassVar[bytes] = b""
    seen: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers["authorization"])
        known = self.path.startswith("/v1/aci/receipts/")
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(self.receipt if known else b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_gateway_of_a_closed_network_is_believed_by_its_authority_alone(
    shell: Shell, home: Path, tmp_path: Path
) -> None:
    Gateway.receipt, Gateway.seen = dict(aci.mint().parts)[PartRole.RECEIPT], []
    ours = PrivateAuthority(tmp_path)
    chain_file, key_file = ours.certify("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain_file, key_file)
    (home / "token").write_text("s3cret-of-mine\n")
    with answering(Gateway, context) as url:
        given = ("import", "aci", "--fetch", url, "--fetch-id", "x", "--fetch-token-file", "token")
        said = shell(*given, "--json")
        # Whoever is not believed learns nothing.
        assert (said.status, said.error["reason"], Gateway.seen) == (3, "PEER_CERTIFICATE", [])
        said = shell(*given, "--fetch-ca-file", ours.file, *AT, "--json")
    assert (said.status, [item["role"] for item in said.value["fetched"]]) == (4, ["receipt"])
    assert set(Gateway.seen) == {"Bearer s3cret-of-mine"}
