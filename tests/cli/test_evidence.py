"""Evidence at a terminal: judged from a file alone, or by a registry that keeps what it finds."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from registry.cli.evidence_verify import VENDORS
from registry.client.evidence import Change, EvidenceCalls
from registry.core.encoding import base64_text
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import Family
from registry.core.evidence.effect import Effect
from registry.core.evidence.endorsements import Role
from registry.core.evidence.families import FAMILIES
from registry.core.evidence.recognise import recognise
from registry.core.evidence.starters import starter
from registry.errors import MalformedError, Reason
from tests.cli.conftest import Place, Said, Shell
from tests.core.evidence.sev_snp.rows import FOLDER, WHY_NOT, Row, rows
from tests.running import REPOSITORY
from tools.fake_vendor import amd, azure, intel, nitro, nvidia
from tools.fake_vendor.nitro import NOON, Minted, Spec

AT = NOON.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def minted() -> Minted:
    return nitro.mint()


@pytest.fixture
def file(home: Path, minted: Minted) -> Path:
    path = home / "document.cbor"
    path.write_bytes(minted.evidence)
    return path


@pytest.fixture
def root(minted: Minted) -> str:
    [(_, sha256)] = minted.roots.named
    return f"aws-nitro={sha256}"


def test_evidence_in_a_file_is_judged_without_any_network(
    shell: Shell, file: Path, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        message = "somebody opened a socket"
        raise AssertionError(message)

    monkeypatch.setattr(socket, "socket", refuse)
    said = shell("evidence", "verify", file, "--at", AT, "--root", root)
    assert said.status == 0
    assert said.out.startswith("VALID, affirming\n")
    for name, what in FAMILIES[Family.AWS_NITRO].table.items():
        assert f" {name} " in said.out
        assert what in said.out
    assert "ROOT OF NO VENDOR" in said.out
    assert "not compared: pcr0" in said.out


def test_the_same_is_said_to_machines(shell: Shell, file: Path, root: str, minted: Minted) -> None:
    said = shell("evidence", "verify", file, "--at", AT, "--root", root, "--json").value
    assert (said["family"], said["then"]["verdict"]) == ("aws-nitro", "VALID")
    assert said["then"]["at"] == AT
    assert said["then"]["valid_until"] == "2026-06-01T15:00:00Z"
    assert len(said["then"]["checks"]) >= len(FAMILIES[Family.AWS_NITRO].table)
    assert said["configured_roots"] == [sha256 for _, sha256 in minted.roots.named]


def test_what_was_valid_then_may_be_open_now(shell: Shell, file: Path, root: str) -> None:
    said = shell("evidence", "verify", file, "--at", AT, "--root", root, "--json")
    assert said.status == 0
    assert said.value["now"]["verdict"] == "INDETERMINATE"
    late = (NOON + timedelta(hours=3, seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    after = shell("evidence", "verify", file, "--at", late, "--root", root)
    assert after.status == 4
    assert "EXPIRED" in after.out
    assert "next: ask for a moment inside the windows" in after.out


def test_a_verdict_is_the_exit_status_even_if_nobody_reads_on(file: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    words = [sys.executable, "-m", "registry", "evidence", "verify", str(file), "--at", AT]
    done = subprocess.run(
        words, stdout=write_end, stderr=subprocess.PIPE, cwd=REPOSITORY, check=False, text=True
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_root_that_nobody_named_makes_it_invalid(shell: Shell, file: Path) -> None:
    said = shell("evidence", "verify", file, "--at", AT)
    assert said.status == 1
    assert "UNTRUSTED_ROOT" in said.out
    assert "--root VENDOR=SHA256" in said.out


def test_hexadecimal_text_is_evidence_too(shell: Shell, file: Path, root: str) -> None:
    text = file.read_bytes().hex().upper()
    file.write_text("\n".join(text[at : at + 64] for at in range(0, len(text), 64)) + "\n")
    assert shell("evidence", "verify", file, "--at", AT, "--root", root).status == 0


def test_base64_text_is_evidence_too(shell: Shell, file: Path, root: str) -> None:
    text = base64_text(file.read_bytes())
    file.write_text("\n".join(text[at : at + 76] for at in range(0, len(text), 76)) + "\n")
    assert shell("evidence", "verify", file, "--at", AT, "--root", root).status == 0


def test_what_is_missing_is_called_by_the_role_in_which_it_can_be_given(
    shell: Shell, home: Path
) -> None:
    file = home / "evidence.bin"
    for evidence, roles in (
        (amd.mint().evidence, ["amd-vek"]),
        (
            intel.mint().evidence,
            ["intel-root-crl", "intel-pck-crl", "intel-tcb-info", "intel-qe-identity", "event-log"],
        ),
        (nvidia.mint().evidence, ["nvidia-ocsp", "nvidia-rim"]),
    ):
        file.write_bytes(evidence)
        roots = [
            f"--root={name}={sha256}"
            for minted in (amd.roots(), intel.mint().roots, nvidia.mint().roots)
            for vendor, sha256 in minted.named
            for name, known in VENDORS.items()
            if known == vendor
        ]
        said = shell("evidence", "verify", file, "--at", AT, *roots)
        assert said.status == 4
        for role in roles:
            assert f"at hand ({role})" in said.out
        assert "--endorsements" in said.out.splitlines()[-1]


def test_the_next_step_is_about_the_gravest_failure(shell: Shell, home: Path) -> None:
    minted = nitro.mint(Spec(pcrs=dict.fromkeys(range(16), bytes(48))))
    path = home / "debug.cbor"
    path.write_bytes(minted.evidence)
    [(_, sha256)] = minted.roots.named
    named = ("--root", f"aws-nitro={sha256}")
    for more, step in (
        ((), "name it with --root"),
        (named, "a policy may weigh them"),
        ((*named, "--nonce", "00" * 32), "ask the device again"),
    ):
        said = shell("evidence", "verify", path, "--at", AT, *more)
        assert said.status == 1
        assert step in said.out.splitlines()[-1]


def test_what_speaks_against_it_now_is_told_beside_what_was_good_then(
    shell: Shell, file: Path, root: str
) -> None:
    said = shell("evidence", "verify", file, "--at", AT, "--root", root)
    assert said.status == 0
    before, _, besides = said.out.partition("  as of now, besides:\n")
    assert "FAILED" not in before
    assert "EXPIRED" in besides


def test_what_a_starter_does_not_compare_is_shown_to_be_listed(
    shell: Shell, file: Path, root: str
) -> None:
    said = shell("evidence", "verify", file, "--at", AT, "--root", root)
    assert f"  not compared: pcr0 {'01' * 48}\n" in said.out
    assert "  not compared, nor stated: pcr16, " in said.out


def test_a_binding_is_compared_if_it_is_given(shell: Shell, home: Path, root: str) -> None:
    nonce, other = b"n" * 32, b"o" * 32
    bound = Binding(nonce=nonce)
    path = home / "bound.cbor"
    path.write_bytes(nitro.mint(Spec(user_data=bound.report_data(), nonce=nonce)).evidence)
    common = ("evidence", "verify", path, "--at", AT, "--root", root, "--nonce")
    assert shell(*common, nonce.hex()).status == 0
    refused = shell(*common, other.hex())
    assert refused.status == 1
    assert "WRONG_COMMITMENT" in refused.out


@pytest.mark.parametrize("azure_vm", [False, True], ids=["intel-dcap", "azure-tdx-vtpm"])
@pytest.mark.parametrize("odd", [False, True], ids=["agreed", "disputed"])
def test_a_second_engine_is_asked_about_a_bare_file_and_what_it_says_otherwise_is_said(
    shell: Shell, home: Path, odd: bool, azure_vm: bool
) -> None:
    pytest.importorskip("dcap_qvl", reason="the second engine is not installed (extra dcap)")

    def strange(info: dict[str, Any]) -> dict[str, Any]:
        # Our engine reads the levels that count, the other one all of them.
        return {
            **info,
            "tcbLevels": [*info["tcbLevels"], intel.level((0,), "Strange", tdx=(0,))],
        }

    quoted = intel.Spec(tcb_info=strange) if odd else intel.Spec()
    made = azure.mint(azure.Spec(hardware=quoted)) if azure_vm else intel.mint(quoted)
    (home / "quote.bin").write_bytes(made.evidence)
    folder = home / "collateral"
    folder.mkdir()
    for item in made.endorsements.items:
        (folder / item.role).write_bytes(item.data)
    [(_, sha256)] = made.roots.named
    root = f"--root=intel-sgx={sha256}"
    common = ("evidence", "verify", home / "quote.bin", "--at", AT, root)
    said = shell(*common, "--endorsements", folder)
    as_json = shell(*common, "--endorsements", folder, "--json")
    assert said.status == as_json.status == (4 if odd else 0)
    assert ("DISPUTED    dcap-qvl 0.7" in said.out) is odd
    assert as_json.value["then"]["verdict"] == ("INDETERMINATE" if odd else "VALID")
    assert ("we say UpToDate" in as_json.value["then"]["disputed"]) is odd


def test_endorsements_come_from_a_folder_whose_files_are_named_by_role(
    shell: Shell, home: Path, file: Path, root: str, minted: Minted
) -> None:
    folder = home / "vendor"
    folder.mkdir()
    for number, item in enumerate(minted.endorsements.items):
        (folder / f"nitro-crl.{number}.crl").write_bytes(item.data)
    policy = home / "policy.json"
    members = json.loads(shell("policy", "starter", "aws-nitro").out)
    policy.write_text(json.dumps({**members, "name": "acme/lists", "require": ["N9"]}))
    common = ("evidence", "verify", file, "--at", AT, "--root", root, "--policy", policy)
    without = shell(*common)
    assert without.status == 4
    assert "next: give what is missing with --endorsements" in without.out
    assert shell(*common, "--endorsements", folder).status == 0
    single = [f"--endorsements=nitro-crl={folder / f'nitro-crl.{n}.crl'}" for n in range(2)]
    assert shell(*common, *single).status == 0
    (folder / "crl.pem").write_bytes(b"?")
    refused = shell(*common, "--endorsements", folder, "--json")
    assert refused.status == 2
    assert refused.error["where"].endswith("crl.pem")


def test_the_longest_role_that_a_name_begins_with_is_meant(home: Path) -> None:
    from registry.cli.endorsement_files import role_of  # noqa: PLC0415 - no command of its own

    assert role_of(home / "intel-pck-crl.der") is Role.INTEL_PCK_CRL
    assert role_of(home / "intel-pck-crl-chain.pem") is Role.INTEL_PCK_CRL_CHAIN
    assert role_of(home / "amd-vek") is Role.AMD_VEK
    for name in ("amd-veks.der", "vek-amd.der", ""):
        with pytest.raises(MalformedError) as caught:
            role_of(home / name)
        assert caught.value.reason is Reason.BAD_SETTING


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--root", "aws-nitro"), 2),
        (("--root", f"acme={'0' * 64}"), 2),
        (("--root", "aws-nitro=ABC"), 2),
        (("--nonce", "xyz"), 1),
        (("--family", "acme"), 2),
        (("--at", "yesterday"), 2),
        (("--at", "1970-01-01"), 1),
        (("--family", "intel-dcap"), 1),
        (("--endorsements", "no-such-folder"), 2),
    ],
    ids=[
        *("root", "vendor", "digest", "nonce", "family", "time", "epoch", "another family"),
        "no folder",
    ],
)
def test_what_is_not_understood_is_refused(
    shell: Shell, file: Path, arguments: tuple[str, ...], status: int
) -> None:
    assert shell("evidence", "verify", file, *arguments).status == status


def test_bytes_that_nobody_can_read_are_refused(shell: Shell, home: Path) -> None:
    path = home / "noise"
    path.write_bytes(os.urandom(1000))
    refused = shell("evidence", "verify", path, "--json")
    assert (refused.status, refused.error["reason"]) == (1, "UNKNOWN_FAMILY")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_starter_policy_that_holds(
    shell: Shell, home: Path, family: Family
) -> None:
    path = home / "policy.json"
    path.write_text(shell("policy", "starter", family).out)
    said = shell("policy", "check", path, "--json")
    assert said.status == 0
    assert said.value["name"] == starter(family).name


def test_a_family_is_recognised_by_its_parser(minted: Minted) -> None:
    assert recognise(minted.evidence, NOON).family is Family.AWS_NITRO


# 138, 139


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"skip": ["pcr0"]}, "POLICY_UNSET"),
        ({"reference_values": {"pcr0": []}}, "POLICY_EMPTY"),
        ({"skip": ["nonsense"]}, "POLICY_UNSET"),
        ({"colour": "red"}, "MALFORMED_FIELD"),
        ({"family": "acme"}, "MALFORMED_FIELD"),
    ],
    ids=["unset", "empty", "unknown", "another member", "another family"],
)
def test_a_bad_policy_is_refused_before_it_is_sent(
    shell: Shell, home: Path, change: dict[str, object], reason: str
) -> None:
    path = home / "policy.json"
    members = json.loads(shell("policy", "starter", "aws-nitro").out)
    path.write_text(json.dumps({**members, **change}))
    refused = shell("policy", "check", path, "--json")
    assert (refused.status, refused.error["reason"]) == (1, reason)


@pytest.fixture
def node(acme: Shell, place: Place, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Run commands as the node."""

    def act(*arguments: object) -> Said:
        with monkeypatch.context() as patched:
            patched.setenv("PROVREG_TOKEN_FILE", str(place.folder / "node-1.token"))
            return acme(*arguments)

    return act


@pytest.fixture
def policy(admin: Shell, home: Path, root: str) -> str:
    """A registered policy that believes the fake vendor."""
    members = json.loads(admin("policy", "starter", "aws-nitro").out)
    path = home / "policy.json"
    named = {
        "name": "acme/enclaves",
        "roots": [{"vendor": "AWS Nitro", "sha256": root.partition("=")[2]}],
    }
    path.write_text(json.dumps({**members, **named}, indent=4))
    registered = admin("policy", "register", path, "--json").value
    assert admin("policy", "register", path, "--json").value["index"] == registered["index"]
    assert registered["record_id"] in admin("policy", "list").out
    return "acme/enclaves"


@dataclass
class Submission:
    """Evidence of the node, on its way."""

    key: Path
    file: Path
    nonce: str


def asked_device(node: Shell, place: Place, home: Path, **more: Any) -> Submission:
    """A challenge, and the document of a device that answers it."""
    key = home / "session.der"
    der = place.node.signer.public_key.der
    key.write_bytes(der)
    asked = node("evidence", "challenge", "--session-key", key, "--json").value
    nonce = bytes.fromhex(asked["nonce"])
    data = bytes.fromhex(asked["report_data"])
    assert data == Binding(nonce=nonce, session_key=der).report_data()
    now = datetime.now(UTC).replace(microsecond=0)
    spec = Spec(signed_at=now, user_data=data, nonce=nonce, public_key=der, **more)
    file = home / "bound.cbor"
    file.write_bytes(nitro.mint(spec).evidence)
    return Submission(key, file, nonce.hex())


@pytest.fixture
def submission(node: Shell, place: Place, home: Path) -> Submission:
    """See :func:`asked_device`."""
    return asked_device(node, place, home)


def submit(shell: Shell, policy: str, about: Submission, *more: object) -> Said:
    common = ("evidence", "submit", about.file, "--nonce", about.nonce, "--policy", policy)
    return shell(*common, *more, "--json")


def test_evidence_goes_all_the_way_to_the_log_and_back(
    node: Shell, policy: str, submission: Submission
) -> None:
    refused = submit(node, policy, submission)
    assert (refused.status, refused.error["reason"]) == (1, "WRONG_SESSION_KEY")
    submitted = submit(node, policy, submission, "--session-key", submission.key)
    result = submitted.value["result"]["submods"]["aws-nitro"]
    assert result["provreg.verdict"] == "VALID"
    again = submit(node, policy, submission, "--session-key", submission.key).value
    assert again["index"] == submitted.value["index"]
    shown = node("evidence", "show", result["provreg.evidence-id"], "--redo")
    assert shown.out.startswith("VALID, affirming\n")
    assert "ROOT OF NO VENDOR" in shown.out
    assert "judged again here: 1 of 1 come to the same" in shown.out
    assert node("evidence", "show", "--key", submission.key, "--json").value
    record = submitted.value["record_id"]
    assert len(node("evidence", "show", "--record", record, "--json").value) == 1
    assert node("evidence", "show", "--verifier", "provreg 0.1.0").status == 0
    assert node("evidence", "show", "00" * 32).status == 1
    assert node("evidence", "show").status == 2
    assert node("evidence", "show", "--key", "no-such.pem").status == 2


def test_the_verdict_of_what_is_submitted_is_the_exit_status(
    node: Shell, admin: Shell, policy: str, submission: Submission, home: Path
) -> None:
    members = json.loads(admin("policy", "show", policy).out)
    path = home / "strict.json"
    path.write_text(json.dumps(members | {"name": "acme/strict", "roots": []}))
    assert admin("policy", "register", path).status == 0
    bound = ("--session-key", submission.key)
    common = ("evidence", "submit", submission.file, "--nonce", submission.nonce)
    refused = node(*common, "--policy", "acme/strict", *bound)
    assert refused.status == 1
    assert refused.out.startswith("INVALID, contraindicated\n")
    assert "in force    never" in refused.out
    assert "next: if you trust this root, register a policy" in refused.out


def test_a_registered_policy_is_shown_as_it_can_be_registered_again(
    admin: Shell, policy: str, home: Path
) -> None:
    [listed] = [each for each in admin("policy", "list", "--json").value if each["name"] == policy]
    path = home / "again.json"
    for name in (policy, listed["record_id"], f"sha256:{listed['sha256']}"):
        path.write_text(admin("policy", "show", name).out)
        assert admin("policy", "register", path, "--json").value["index"] == listed["index"]
    assert admin("policy", "show", "acme/nothing").status == 1


def test_what_changed_is_told_even_if_some_evidence_is_lost(
    node: Shell, admin: Shell, policy: str, place: Place, home: Path
) -> None:
    told = []
    for _ in range(2):
        about = asked_device(node, place, home)
        submitted = submit(node, policy, about, "--session-key", about.key).value
        told.append(submitted["result"]["submods"]["aws-nitro"])
    lost = told[0]["ear.raw-evidence"]
    [blob] = (place.running.data / "blobs").rglob(lost)
    kept = blob.rename(home / "lost")
    try:
        partly = admin("evidence", "reappraise", "--all", "--json")
    finally:
        kept.rename(blob)
    assert partly.status == 1
    assert partly.error["reason"] == "UNKNOWN_BLOB"
    assert told[0]["provreg.evidence-id"] in partly.error["where"]
    judged = {item["evidence_id"] for item in json.loads(partly.out)}
    assert told[1]["provreg.evidence-id"] in judged
    assert told[0]["provreg.evidence-id"] not in judged


def test_a_distrust_entry_that_could_match_nothing_is_refused(admin: Shell) -> None:
    for name in (("--claim", "modul_id", "x"), ("--below", "pcr0", "3")):
        refused = admin("distrust", "add", "aws-nitro", *name, "--reason", "typo", "--json")
        assert (refused.status, refused.error["reason"]) == (1, "MALFORMED_FIELD")
        assert name[1] in refused.error["actual"]


def test_a_distrust_entry_changes_the_verdict_when_all_is_judged_again(
    node: Shell, admin: Shell, policy: str, place: Place, home: Path
) -> None:
    # What is distrusted is distrusted for good, and other tests have documents of this registry.
    pcrs = {number: bytes([number + 1] * 48) for number in range(5)}
    robbed = bytes.fromhex("11" * 48)
    submission = asked_device(node, place, home, pcrs={**pcrs, 4: robbed})
    submitted = submit(node, policy, submission, "--session-key", submission.key).value
    evidence = submitted["result"]["submods"]["aws-nitro"]["provreg.evidence-id"]
    claim = ("--claim", "pcr4", robbed.hex())
    added = admin("distrust", "add", "aws-nitro", *claim, "--reason", "its maker was robbed")
    assert added.status == 0
    assert "next: provreg evidence reappraise --all" in added.out
    assert "its maker was robbed" in admin("distrust", "list").out
    assert admin("evidence", "reappraise").status == 2
    assert node("evidence", "reappraise", evidence).status == 1
    changed = admin("evidence", "reappraise", "--all")
    assert f"{evidence}: VALID before, INVALID now: changed" in changed.out
    assert "node        node-1" in changed.out
    assert "because     N9 DISTRUSTED" in changed.out
    assert " judged again, " in changed.out
    assert changed.out.endswith(" changed, 0 expired since, 0 renewed\n")
    both = node("evidence", "show", evidence, "--redo", "--json").value
    verdicts = [item["result"]["submods"]["aws-nitro"]["provreg.verdict"] for item in both]
    assert verdicts == ["VALID", "INVALID"]
    unchanged = admin("evidence", "reappraise", evidence, "--json").value
    assert [item["effect"] for item in unchanged] == ["unchanged"]


def test_what_merely_expired_is_told_apart_from_what_changed(
    node: Shell, admin: Shell, policy: str, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = submit(node, policy, submission, "--session-key", submission.key).value
    evidence = submitted["result"]["submods"]["aws-nitro"]["provreg.evidence-id"]
    really = EvidenceCalls.reappraise

    def later(calls: EvidenceCalls, evidence_id: bytes = b"") -> Iterator[Change]:
        for change in really(calls, evidence_id):
            for now, effect in (("INDETERMINATE", Effect.EXPIRED), ("INVALID", Effect.CHANGED)):
                yield replace(change, before="VALID", now=now, effect=effect)

    monkeypatch.setattr(EvidenceCalls, "reappraise", later)
    told = admin("evidence", "reappraise", evidence).out.splitlines()
    assert told[0] == f"{evidence}: VALID before, INVALID now: changed"
    assert f"{evidence}: VALID before, INDETERMINATE now: expired since" in told
    assert told[-1] == "2 judged again, 1 changed, 1 expired since, 0 renewed"
    said = admin("evidence", "reappraise", evidence, "--json").value
    assert [item["effect"] for item in said] == ["expired", "changed"]


def test_a_distrust_entry_that_matches_everything_is_refused(admin: Shell) -> None:
    refused = admin("distrust", "add", "aws-nitro", "--reason", "all of it", "--json")
    assert (refused.status, refused.error["reason"]) == (1, "MALFORMED_FIELD")


def test_a_distrust_list_in_a_file_counts_as_of_now_and_from_its_date_on(
    shell: Shell, home: Path
) -> None:
    minted = amd.mint()
    (home / "report.bin").write_bytes(minted.evidence)
    folder = home / "vendor"
    folder.mkdir()
    for item in minted.endorsements.items:
        (folder / item.role).write_bytes(item.data)
    listed = home / "distrust.json"
    listed.write_text(shell("distrust", "starter").out)
    roots = [
        f"--root=amd-{vendor.rpartition(' ')[2].lower()}={sha256}"
        for vendor, sha256 in amd.roots().named
    ]
    common = ("evidence", "verify", home / "report.bin", "--endorsements", folder, *roots)
    given = ("--distrust", listed)
    before = shell(*common, *given, "--at", "2026-05-12T23:59:59Z", "--json")
    assert (before.status, before.value["then"]["verdict"]) == (0, "VALID")
    assert before.value["now"]["verdict"] == "INVALID"
    assert "DISTRUSTED" in {item.get("finding") for item in before.value["now"]["checks"]}
    after = shell(*common, *given, "--at", "2026-05-13")
    assert after.status == 1
    assert "next: see: provreg distrust list" in after.out
    assert shell(*common, "--at", "2026-05-13").status == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "MALFORMED_JSON"),
        ("[1]", "MALFORMED_JSON"),
        ('[{"entry":{}}]', "MALFORMED_FIELD"),
        ('[{"entry":[]}]', "MALFORMED_JSON"),
        (
            (
                '[{"entry":{"selector":{"family":"amd-snp"},"reason":"all",'
                '"effective_from":"2026-05-13T00:00:00Z"}}]'
            ),
            "MALFORMED_FIELD",
        ),
        (" " * (256 * 1024 + 1), "MESSAGE_TOO_LARGE"),
    ],
    ids=["object", "number", "empty", "array", "everything", "large"],
)
def test_what_is_no_distrust_list_is_refused(
    shell: Shell, home: Path, file: Path, text: str, reason: str
) -> None:
    listed = home / "distrust.json"
    listed.write_text(text)
    refused = shell("evidence", "verify", file, "--at", AT, "--distrust", listed, "--json")
    assert (refused.status, refused.error["reason"]) == (1, reason)


ROWS = rows(azure=False)


@pytest.mark.skipif(not ROWS, reason=WHY_NOT)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_real_reports_in_files_get_their_verdict_as_exit_status(shell: Shell, row: Row) -> None:
    assert FOLDER is not None
    given = [
        f"--endorsements=amd-{'chain' if name.endswith('.pem') else 'vek'}={FOLDER / name}"
        for name in row.collateral
    ]
    at = row.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    said = shell("evidence", "verify", FOLDER / row.file, "--at", at, *given, "--json")
    assert said.status == {"valid": 0, "invalid": 1}[row.verdict]
    assert said.value["evidence_id"] == row.evidence_id
    assert said.value["then"]["tier"] == row.tier
    assert said.value["configured_roots"] == []
    # With nothing at hand but the report itself, nothing is known of it.
    alone = shell("evidence", "verify", FOLDER / row.file, "--at", at)
    assert alone.status in (1, 4)
