"""OpenGradient's settlements: trees, headers, what is put away, events, inferences on chain."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.encoding import write_json
from registry.core.evidence.checks import CheckError
from registry.core.foreign.captured import Captured, PartRole
from registry.core.foreign.opengradient.settlement import Kept, Told, Tree, node_of, read
from registry.core.foreign.proof import ForeignProof, Layer, Strength, System
from registry.core.foreign.systems import examine, redo
from registry.core.profiles.recognise import candidates
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason
from tests.core.foreign.looking import found, judged, layers
from tools.fake_vendor import opengradient as gateway
from tools.fake_vendor import opengradient_settlement as chain
from tools.fake_vendor.caught import Caught

MINE = gateway.mint()
PROOF = chain.proof_of(MINE)
OTHERS = [chain.another(number) for number in range(1, 5)]
BATCH = chain.dump([*OTHERS[:2], PROOF, *OTHERS[2:]])
UNPROVEN = ("S3", "UNPROVEN_EVENT")
UNREAD = {("C4", "NOT_REACHED"), ("C5", "NOT_REACHED")}


def judge(settlement: Any = None, transaction: Any = None, mine: Caught = MINE) -> ForeignProof:
    caught = chain.settled(mine, settlement, transaction)
    return judged(System.OPENGRADIENT, caught.captured, caught.asked())


def alone(transaction: Any) -> ForeignProof:
    """An event of the chain, with nothing else."""
    data = transaction if isinstance(transaction, bytes) else json.dumps(transaction).encode()
    captured = Captured.of([(PartRole.TRANSACTION, data)])
    return judged(System.OPENGRADIENT, captured, MINE.asked())


# --- What is good. ---


def test_a_response_in_a_settled_batch_is_valid_and_no_stronger() -> None:
    proof = judge(BATCH, chain.receipt(chain.batch_event(BATCH)))
    assert found(proof) == {UNPROVEN}
    assert proof.verdict is Verdict.VALID
    assert (proof.code_strength, proof.binding_strength) == (Strength.MEASURED, Strength.NAME_ONLY)
    assert proof.parser_version == "opengradient/2"
    assert proof.claims["settlement"] == "batch"
    assert proof.claims["settlement_size"] == "5"
    assert proof.claims["settlement_root"] == BATCH["tree"][0][2:]
    assert proof.claims["settlement_blob"] == chain.BLOB_ID
    assert proof.claims["settlement_contract"] == chain.RELAY.lower()
    assert any(name.startswith("settlement: the block") for name in proof.uncovered)
    assert any(name.startswith("settlement: the contract") for name in proof.uncovered)


def test_a_response_without_settlement_is_read_as_before() -> None:
    proof = judge()
    assert proof.parser_version == "opengradient/1"
    assert "settlement" not in proof.claims


@pytest.mark.parametrize("count", range(1, 9))
def test_trees_of_every_size_are_read(count: int) -> None:
    tree = chain.dump([PROOF, *(chain.another(number) for number in range(1, count))])
    assert found(judge(tree, chain.batch_event(tree))) == {UNPROVEN}


def test_a_tree_without_the_chain_says_so() -> None:
    proof = judge(BATCH)
    assert (found(proof), proof.verdict) == (set(), Verdict.VALID)
    assert "settlement: whether the chain knows of it" in proof.uncovered


def test_the_only_response_of_a_batch_needs_no_tree() -> None:
    assert found(judge(None, chain.batch_event(chain.dump([PROOF])))) == {UNPROVEN}


def test_the_tree_of_a_batch_is_wanted_where_only_the_chain_tells() -> None:
    for settlement in (None, chain.headers("batch", chain.told(PROOF))):
        proof = judge(settlement, chain.batch_event(BATCH))
        assert found(proof) == {UNPROVEN, ("C6", "OTHER_EVENT")}
        assert proof.verdict is Verdict.INDETERMINATE


def test_a_response_that_is_settled_by_itself_is_put_away_with_what_was_said() -> None:
    proof = judge(chain.blob(MINE), chain.receipt(chain.individual_event(PROOF)))
    assert (found(proof), proof.verdict) == ({UNPROVEN}, Verdict.VALID)
    assert {"settlement.input", "settlement.output"} <= set(proof.covered)
    assert "settlement.ethAddress" in proof.uncovered
    assert proof.claims["settlement_address"] == chain.PAYER


def test_what_is_put_away_otherwise_than_it_was_signed_is_listed() -> None:
    proof = judge(chain.blob(MINE, input={"prompt": "?"}, output={"text": "?"}))
    assert found(proof) == set()
    assert {name.partition(":")[0] for name in proof.uncovered} >= {
        "settlement.input",
        "settlement.output",
    }
    assert not any(name.startswith("settlement.") for name in proof.covered)


def test_the_answer_may_be_put_away_as_the_whole_response() -> None:
    body = json.loads(dict(MINE.parts)[PartRole.RESPONSE])
    assert "settlement.output" in judge(chain.blob(MINE, output=body)).covered


@pytest.mark.parametrize("kind", ["batch", "Individual"])
def test_headers_are_read_among_others(kind: str) -> None:
    members = chain.told(PROOF)
    if kind == "Individual":
        members |= {"input": "x", "output": "y", "eth_address": chain.PAYER}
    proof = judge(chain.headers(kind, members))
    assert (found(proof), proof.claims["settlement"]) == (set(), kind.lower())


def test_of_a_private_response_nothing_is_settled() -> None:
    proof = judge(chain.headers("private"))
    assert (found(proof), proof.claims["settlement"]) == (set(), "private")
    assert read(chain.headers("private")) == Told(Kept.PRIVATE)


def test_a_settled_response_is_found_and_read_again_from_its_parts() -> None:
    caught = chain.settled(MINE, BATCH, chain.batch_event(BATCH))
    examined = examine(System.OPENGRADIENT, caught.captured, caught.asked())
    parts = [(role.value, data) for role, data in caught.parts]
    parts += [(item.role.value, item.data) for item in caught.endorsements.items]
    parts.append(("policy", write_json(examined.policy)))
    again = redo(examined.proof, parts, caught.policy.roots)
    assert again.verdict is Verdict.VALID
    assert examined.outputs[0] == candidates(dict(caught.parts)[PartRole.RESPONSE])[0]


# --- What is not. ---


def test_a_batch_without_the_response_is_refused() -> None:
    proof = judge(chain.dump(OTHERS))
    assert found(proof) == {("C4", "NOT_IN_BATCH")}
    assert (proof.verdict, proof.code_strength) == (Verdict.INVALID, Strength.NONE)


def edited(edit: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(json.dumps(BATCH))
    edit(tree)
    return tree


def swap(places: tuple[int, int]) -> Callable[[dict[str, Any]], object]:
    """Exchange two leaves, and make every hash above them again."""

    def edit(tree: dict[str, Any]) -> None:
        nodes, (one, other) = tree["tree"], places
        nodes[one], nodes[other] = nodes[other], nodes[one]
        moved = {one: other, other: one}
        for value in tree["values"]:
            value["treeIndex"] = moved.get(value["treeIndex"], value["treeIndex"])
        rehash(tree)

    return edit


def rehash(tree: dict[str, Any]) -> None:
    nodes = [bytes.fromhex(node[2:]) for node in tree["tree"]]
    for place in range(len(tree["values"]) - 2, -1, -1):
        nodes[place] = node_of(nodes[2 * place + 1], nodes[2 * place + 2])
    tree["tree"] = [f"0x{node.hex()}" for node in nodes]


def forge(tree: dict[str, Any]) -> None:
    """Put another response in a place, and leave its leaf as it is."""
    tree["values"][0]["value"] = [*tree["values"][1]["value"]]


@pytest.mark.parametrize(
    "edit",
    [
        lambda tree: tree["tree"].__setitem__(0, "0x" + "00" * 32),
        lambda tree: tree["tree"].__setitem__(2, "0x" + "00" * 32),
        forge,
        swap((4, 8)),
        lambda tree: tree["values"][0].__setitem__("treeIndex", tree["values"][1]["treeIndex"]),
        lambda tree: tree["values"][0].__setitem__("treeIndex", 0),
        lambda tree: tree["values"][0].__setitem__("treeIndex", 9),
    ],
    ids=["root", "node", "leaf", "order", "twice", "no leaf", "beyond"],
)
def test_a_tree_that_is_not_of_its_values_is_refused(
    edit: Callable[[dict[str, Any]], object],
) -> None:
    assert ("C5", "TREE_MISMATCH") in found(judge(edited(edit)))


@pytest.mark.parametrize(
    "edit",
    [
        lambda tree: tree["leafEncoding"].pop(),
        lambda tree: tree.update(format="simple-v1"),
        lambda tree: tree.pop("leafEncoding"),
    ],
    ids=["members", "format", "none"],
)
def test_a_tree_of_another_kind_is_left_open(edit: Callable[[dict[str, Any]], object]) -> None:
    proof = judge(edited(edit))
    assert found(proof) == {("P4", "LEAF_ENCODING"), *UNREAD}
    assert proof.verdict is Verdict.INDETERMINATE


def value(position: int, text: object) -> Callable[[dict[str, Any]], object]:
    return lambda tree: tree["values"][0]["value"].__setitem__(position, text)


@pytest.mark.parametrize(
    "edit",
    [
        lambda tree: tree["tree"].pop(),
        lambda tree: tree["values"].pop(),
        lambda tree: tree.update(values=[], tree=[]),
        lambda tree: tree.update(tree="0x"),
        lambda tree: tree["tree"].__setitem__(0, 7),
        lambda tree: tree["tree"].__setitem__(0, None),
        lambda tree: tree.update(values=dict.fromkeys("abcde")),
        lambda tree: tree.update(values=None),
        lambda tree: tree["tree"].__setitem__(0, "00" * 32),
        lambda tree: tree["tree"].__setitem__(0, "0x" + "0G" * 32),
        lambda tree: tree["values"].__setitem__(0, 7),
        lambda tree: tree["values"][0].pop("value"),
        lambda tree: tree["values"][0].pop("treeIndex"),
        lambda tree: tree["values"][0]["value"].pop(),
        value(0, "0x11"),
        value(3, "0x" + "11" * 1025),
        value(4, "007"),
        value(4, "-1"),
        value(4, 1.5),
        value(4, str(1 << 256)),
    ],
    ids=range(20),
)
def test_a_dump_has_one_form(edit: Callable[[dict[str, Any]], object]) -> None:
    assert ("P4", "SETTLEMENT_FORM") in found(judge(edited(edit)))


def test_a_batch_of_too_many_is_refused_before_it_is_hashed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("registry.core.foreign.opengradient.settlement.MAX_LEAVES", 4)
    assert found(judge(BATCH)) == {("P4", "SETTLEMENT_FORM"), *UNREAD}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("input_hash", "0x" + "11" * 32),
        ("output_hash", "0x" + "11" * 32),
        ("tee_signature", "AAAA"),
        ("tee_id", "0x" + "11" * 32),
        ("tee_timestamp", 1780000001),
    ],
)
def test_a_settlement_of_another_response_is_refused(name: str, said: object) -> None:
    proof = judge(chain.headers("batch", chain.told(PROOF, **{name: said})))
    assert found(proof) == {("C4", "OTHER_RESPONSE")}
    assert proof.verdict is Verdict.INVALID


@pytest.mark.parametrize(
    "settlement",
    [
        b"",
        b"x-settlement-type: public\r\n",
        b"x-settlement-type: batch\r\n",
        chain.headers("public", chain.told(PROOF)),
        chain.headers("batch", [1]),  # type: ignore[arg-type]  # as told
        chain.headers("batch", chain.told(PROOF, tee_signature=None)),
        b"x-settlement-type: batch\r\nx-settlement-data: e30\r\n",
        b"x-settlement-type: batch\r\nx-settlement-data: W10=\r\n",
        b"x-settlement-type: private\r\nx-settlement-type: private\r\n",
        chain.headers("batch", {}),
        chain.headers("batch", chain.told(PROOF, inputHash="0x" + "11" * 32)),
        chain.headers("batch", chain.told(PROOF, tee_signature="")),
        chain.headers("batch", chain.told(PROOF, tee_signature="AB==")),
        chain.headers("individual", chain.told(PROOF)),
        chain.blob(MINE, ethAddress="0x11"),
        {name: said for name, said in chain.blob(MINE).items() if name != "teeId"},
        {name: said for name, said in chain.blob(MINE).items() if name != "output"},
    ],
    ids=range(17),
)
def test_what_is_told_has_one_form(settlement: Any) -> None:
    assert ("P4", "SETTLEMENT_FORM") in found(judge(settlement))


@pytest.mark.parametrize("data", [b'{"tree": 1, "tree": 2}', b'{"tree": 1'], ids=["twice", "cut"])
def test_a_settlement_that_readers_disagree_about_is_named(data: bytes) -> None:
    assert {finding for check, finding in found(judge(data)) if check == "P4"} <= {
        "DUPLICATE_MEMBER",
        "NOT_JSON",
    }


def test_an_event_of_another_batch_is_refused() -> None:
    other = chain.dump([PROOF, OTHERS[0]])
    proof = judge(BATCH, chain.batch_event(other))
    assert found(proof) == {UNPROVEN, ("C6", "OTHER_EVENT")}
    assert proof.verdict is Verdict.INVALID


def test_an_event_that_counts_a_batch_otherwise_is_refused() -> None:
    told = chain.batch_event({**BATCH, "values": BATCH["values"][:-1]})
    assert ("C6", "OTHER_EVENT") in found(judge(BATCH, told))


def test_an_event_of_another_response_or_payer_is_refused() -> None:
    for event in (
        chain.individual_event(OTHERS[0]),
        chain.individual_event(PROOF, "0x" + "11" * 20),
    ):
        proof = judge(chain.blob(MINE), event)
        assert found(proof) == {UNPROVEN, ("C6", "OTHER_EVENT")}
        assert proof.verdict is Verdict.INVALID


def test_an_event_that_the_chain_took_back_is_left_open() -> None:
    proof = judge(BATCH, chain.batch_event(BATCH, removed=True))
    assert ("P5", "EVENT_REMOVED") in found(proof)
    assert proof.verdict is Verdict.INDETERMINATE


@pytest.mark.parametrize(
    "transaction",
    [
        b"{",
        b'{"logs": 1}',
        b"[7]",
        b'{"result": null}',
        chain.batch_event(BATCH, address="0x11"),
        chain.batch_event(BATCH, address="00" + "11" * 20),
        chain.batch_event(BATCH, address=None),
        chain.batch_event(BATCH, data=None),
        chain.batch_event(BATCH, topics="0x"),
        chain.batch_event(BATCH, topics=["0x" + "11" * 32] * 5),
        chain.batch_event(BATCH, topics=[7]),
        chain.batch_event(BATCH, data="0x1"),
        chain.batch_event(BATCH, data=chain.batch_event(BATCH)["data"] + "00" * 32),
        chain.batch_event(BATCH, topics=chain.batch_event(BATCH)["topics"][:1]),
        chain.batch_event(BATCH, blockNumber=7),
        chain.batch_event(BATCH, transactionHash="0x" + "11" * 40),
        chain.individual_event(PROOF) | {"data": "0x"},
    ],
    ids=range(17),
)
def test_what_a_node_tells_has_one_form(transaction: Any) -> None:
    findings = {finding for check, finding in found(judge(BATCH, transaction)) if check == "P5"}
    assert findings <= {"EVENT_FORM", "NOT_JSON"}
    assert findings


@pytest.mark.parametrize("data", ["", "é", "x" * 257])
def test_what_is_put_away_has_a_name(data: str) -> None:
    encoded = chain.pointed([chain.word(5), (chain.text(data.encode()),)])
    event = chain.batch_event(BATCH, data=f"0x{encoded.hex()}")
    assert ("P5", "EVENT_FORM") in found(judge(BATCH, event))


def test_a_transaction_without_an_event_of_theirs_is_left_open() -> None:
    proof = judge(BATCH, chain.receipt())
    assert ("P5", "NO_EVENT") in found(proof)
    assert proof.verdict is Verdict.INDETERMINATE


def test_a_node_that_tells_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.core.foreign.opengradient.chain.MAX_EVENTS", 1)
    proof = judge(BATCH, chain.receipt(chain.batch_event(BATCH)))
    assert ("P5", "EVENT_FORM") in found(proof)


@pytest.mark.parametrize("role", [PartRole.SETTLEMENT, PartRole.TRANSACTION])
def test_there_is_one_settlement_and_one_transaction(role: PartRole) -> None:
    caught = chain.settled(MINE, BATCH, chain.batch_event(BATCH))
    twice = Captured.of([*caught.parts, (role, b"{}")], caught.endorsements)
    with pytest.raises(MalformedError) as refused:
        judged(System.OPENGRADIENT, twice, caught.asked())
    assert refused.value.reason is Reason.FOREIGN_PART


def test_a_response_of_before_settlements_has_none() -> None:
    legacy = gateway.mint_legacy(gateway.Spec())
    proof = judge(BATCH, None, legacy)
    assert proof.parser_version == "opengradient/1"
    assert "settlement" not in proof.claims


# --- Inferences on the chain. ---


@pytest.mark.parametrize(("mode", "name"), [(0, "VANILLA"), (1, "ZKML"), (2, "TEE")])
def test_an_inference_on_the_chain_is_read_and_left_open(mode: int, name: str) -> None:
    proof = alone(chain.receipt(chain.inference_event(mode)))
    assert (proof.verdict, proof.parser_version) == (
        Verdict.INDETERMINATE,
        "opengradient-alpha/1",
    )
    assert found(proof) == {("S3", "MISSING"), ("A1", "MISSING")}
    assert (proof.binding_strength, proof.code_strength) == (Strength.NONE, Strength.NONE)
    assert (proof.claims["mode"], proof.claims["model_cid"]) == (name, "QmModel")
    assert proof.claims["input"] == "x [1, 2], label text"
    assert proof.claims["output"] == "y [1]"
    assert layers(proof)[Layer.PARSE] is Verdict.VALID
    assert any(name.startswith("model weights") for name in proof.uncovered)
    assert proof.covered == ()


def test_an_inference_is_found_by_its_output_however_a_node_spells_the_rest() -> None:
    event = chain.inference_event()
    spelled = json.dumps(event, indent=2).encode()
    outputs = {alone(item).output for item in (event, spelled, [event], chain.receipt(event))}
    assert len(outputs) == 1
    assert alone(event).claims["output_abi_sha256"] in outputs


def test_an_inference_that_was_only_tried_says_so() -> None:
    proof = alone(chain.inference_event(simulated=True))
    assert ("C6", "SIMULATED") in found(proof)


def test_only_the_chain_itself_tells_of_an_inference() -> None:
    proof = alone(chain.inference_event(address=chain.RELAY))
    assert ("P5", "NO_EVENT") in found(proof)
    assert "model_cid" not in proof.claims


def test_an_inference_of_no_known_mode_is_refused() -> None:
    assert ("P5", "EVENT_FORM") in found(alone(chain.inference_event(3)))


def test_two_inferences_are_two_imports() -> None:
    twice = [chain.inference_event(), chain.inference_event()]
    assert ("C6", "NO_EVENT") in found(alone(twice))


def test_a_settlement_without_its_response_is_no_inference() -> None:
    assert ("C6", "NO_EVENT") in found(alone(chain.batch_event(BATCH)))


def test_claims_of_an_inference_hold_no_values() -> None:
    claims = alone(chain.inference_event()).claims
    assert not [text for text in claims.values() if "-3" in text or "2.5" in text or "é" in text]


# --- Properties. ---


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 99), min_size=1, max_size=12), st.data())
def test_any_tree_holds_and_any_other_hash_in_it_breaks_it(numbers: list[int], data: Any) -> None:
    dumped = chain.dump([chain.another(number) for number in numbers])
    tree = read(json.dumps(dumped).encode())
    assert isinstance(tree, Tree)
    tree.verify()
    place = data.draw(st.integers(0, len(dumped["tree"]) - 1))
    byte = bytearray.fromhex(dumped["tree"][place][2:])
    byte[data.draw(st.integers(0, 31))] ^= 1 << data.draw(st.integers(0, 7))
    dumped["tree"][place] = f"0x{byte.hex()}"
    broken = read(json.dumps(dumped).encode())
    assert isinstance(broken, Tree)
    with pytest.raises(CheckError):
        broken.verify()
