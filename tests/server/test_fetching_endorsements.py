"""A node brings a bare document of its device; the registry asks the vendor for the rest."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from registry.client.channel import Connection, Target
from registry.client.evidence import EvidenceCalls, result_of
from registry.client.registry import RegistryClient
from registry.core.digest import sha256
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import Family
from registry.core.evidence.nitro.rules import RULES
from registry.core.evidence.policy import NamedRoot, Policy
from registry.core.evidence.result import Environment
from registry.core.evidence.roots import Vendor
from registry.core.tlog.note import VerifierKey
from tests.running import Caller
from tests.server.served import Served, served
from tools.fake_vendor import nitro
from tools.fake_vendor.publishing import publish
from tools.fake_vendor.services import Services

POLICY = Policy(
    name="test/nitro",
    family=Family.AWS_NITRO,
    skip=tuple(RULES.references),
    require=("N9",),
    roots=(NamedRoot(vendor=Vendor.AWS_NITRO, sha256=sha256(nitro.mint().chain[0].der).hex()),),
)
"""It wants revocation lists, and believes the fake vendor."""


@pytest.fixture
def services() -> Iterator[Services]:
    with Services() as running:
        yield running


@pytest.fixture
def registry(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("registry") / "data"
    with served(folder, vendors=services.settings()) as running:
        with asking(running, running.admin) as calls:
            calls.put_policy(POLICY)
        yield running


@contextmanager
def asking(registry: Served, caller: Caller) -> Iterator[EvidenceCalls]:
    log_key = VerifierKey.parse((registry.folder / "log.vkey").read_text().strip())
    connection = Connection(Target.parse(registry.address), token=caller.token)
    with RegistryClient(connection, log_key) as client:
        yield EvidenceCalls(client)


def submitted(registry: Served, services: Services, *, published: bool) -> Environment:
    """What the registry makes of a document that comes with nothing else."""
    node = registry.node
    with asking(registry, node) as calls:
        key = node.signer.public_key.der
        nonce = calls.challenge(key).nonce
        binding = Binding(nonce=nonce, session_key=key)
        minted = nitro.mint(
            nitro.Spec(
                signed_at=datetime.now(UTC).replace(microsecond=0),
                user_data=binding.report_data(),
                nonce=nonce,
                public_key=key,
                crl_base=services.crl_base,
            )
        )
        if published:
            publish(services, Family.AWS_NITRO, minted.evidence, minted.endorsements)
        logged = calls.submit(Family.AWS_NITRO, minted.evidence, binding, POLICY.name)
        return result_of(logged).submods[Family.AWS_NITRO]


def test_what_is_missing_is_fetched_and_kept(registry: Served, services: Services) -> None:
    said = submitted(registry, services, published=True)
    assert said.verdict == "VALID"
    assert services.asked == ["GET /nitro/crl/root.crl", "GET /nitro/crl/region.crl"]
    kept = {item.sha256 for item in said.endorsements}
    assert len(kept) == 2
    assert kept <= {digest.hex() for digest in registry.services.blobs}


def test_what_nobody_has_leaves_the_answer_open(registry: Served, services: Services) -> None:
    said = submitted(registry, services, published=False)
    assert said.verdict == "INDETERMINATE"
    assert {item.finding for item in said.checks if item.check == "N9"} == {"MISSING"}
    assert services.asked == ["GET /nitro/crl/root.crl", "GET /nitro/crl/region.crl"]
