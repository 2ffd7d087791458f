"""The clients of vendors' services, against a server on this machine that speaks as they do."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from registry.core.evidence.endorsements import Role
from registry.core.evidence.sev_snp.product import ProductLine
from registry.errors import (
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
    RefusedError,
    RegistryError,
    UnavailableError,
)
from registry.remote.amd_kds import MAX_VEK_BYTES
from registry.remote.crl import CRLClient
from registry.remote.endorser import VendorEndorser
from registry.remote.http import HTTPClient
from registry.remote.vendor_cache import VendorCache
from tools.fake_vendor import nvidia_token, pki
from tools.fake_vendor.services import Reply, Services, ocsp_response

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FMSPC = bytes.fromhex("90c06f000000")
ROOT = pki.issue(pki.name("Root"), pki.p384("services root"), None)
DEVICE = pki.issue(pki.name("Device"), pki.p384("services device"), ROOT, ca=False)
CRL = pki.revocation_list(ROOT, this_update=NOW - HOUR)
CHAIN = ROOT.pem
TCB = b'{"tcbInfo":{"id":"TDX","nextUpdate":"2026-06-01T12:30:00Z"},"signature":"00"}'
IDENTITY = b'{"enclaveIdentity":{"nextUpdate":"2026-07-01T00:00:00Z"},"signature":"00"}'
FIRMWARE = {"fmc": 1, "bl": 3, "tee": 0, "snp": 22, "ucode": 213}
CHIP = bytes(range(64))


class World:
    """All services, all clients, and a clock that is set."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.now = NOW
        self.clients = VendorEndorser.open(services.settings(), lambda: self.now).vendors


@pytest.fixture
def world() -> Iterator[World]:
    with Services() as services:
        yield World(services)


def refusal(act: Callable[[], object]) -> Reason:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value.reason


@pytest.mark.parametrize("tdx", [True, False], ids=["tdx", "sgx"])
def test_tcb_info_comes_with_the_chain_of_its_signer(world: World, tdx: bool) -> None:
    world.services.add_tcb_info(FMSPC, TCB, CHAIN, tdx=tdx)
    found = world.clients.intel.tcb_info(FMSPC, tdx=tdx)
    assert found == ((Role.INTEL_TCB_INFO, TCB), (Role.INTEL_TCB_CHAIN, CHAIN))
    assert refusal(lambda: world.clients.intel.tcb_info(FMSPC, tdx=not tdx)) is (
        Reason.NO_ENDORSEMENT
    )


def test_tcb_info_is_asked_once_until_its_next_update(world: World) -> None:
    world.services.add_tcb_info(FMSPC, TCB, CHAIN, tdx=True)
    for minutes, asked in ((0, 1), (29, 1), (30, 1), (31, 2)):
        world.now = NOW + timedelta(minutes=minutes)
        world.clients.intel.tcb_info(FMSPC, tdx=True)
        assert len(world.services.asked) == asked


def test_an_identity_comes_with_the_chain_of_its_signer(world: World) -> None:
    world.services.add_qe_identity(IDENTITY, CHAIN, tdx=True)
    found = world.clients.intel.qe_identity(tdx=True)
    assert found == ((Role.INTEL_QE_IDENTITY, IDENTITY), (Role.INTEL_QE_CHAIN, CHAIN))


def test_revocation_lists_of_intel_are_fetched(world: World) -> None:
    world.services.add_pck_crl("platform", CRL, CHAIN)
    world.services.add_root_crl(CRL)
    assert world.clients.intel.pck_crl("platform") == (
        (Role.INTEL_PCK_CRL, CRL),
        (Role.INTEL_PCK_CRL_CHAIN, CHAIN),
    )
    assert world.clients.intel.root_crl() == ((Role.INTEL_ROOT_CRL, CRL),)
    assert refusal(lambda: world.clients.intel.pck_crl("processor")) is Reason.NO_ENDORSEMENT


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {}},
        {"headers": {"TCB-Info-Issuer-Chain": "not a chain"}},
        {"headers": {"TCB-Info-Issuer-Chain": "-----BEGIN CERTIFICATE-----%FF"}},
        {"body": b""},
        {"body": b"[]"},
        {"body": b'{"tcbInfo":{}}'},
        {"body": b'{"tcbInfo":{"nextUpdate":7}}'},
        {"body": b'{"tcbInfo":{"nextUpdate":"soon"}}'},
        {"body": TCB.replace(b'"signature"', b'"tcbInfo"')},
    ],
    ids=[
        "no chain",
        "other text",
        "other characters",
        "empty",
        "list",
        "no time",
        "number",
        "no date",
        "twice",
    ],
)
def test_an_answer_that_is_not_intels_is_refused(world: World, changes: dict[str, object]) -> None:
    target = world.services.add_tcb_info(FMSPC, TCB, CHAIN, tdx=True)
    world.services.edit(target, **changes)
    assert refusal(lambda: world.clients.intel.tcb_info(FMSPC, tdx=True)) is Reason.VENDOR_ANSWER


def test_an_fmspc_has_six_bytes(world: World) -> None:
    with pytest.raises(ValueError, match="6 bytes"):
        world.clients.intel.tcb_info(FMSPC + b"\0", tdx=True)
    assert world.services.asked == []


def test_the_certificate_of_a_chip_is_asked_by_id_and_firmware(world: World) -> None:
    query = "blSPL=03&teeSPL=00&snpSPL=22&ucodeSPL=213"
    world.services.add_vcek("Milan", CHIP, query, b"vcek")
    assert world.clients.amd.vcek(ProductLine.MILAN, CHIP, FIRMWARE) == ((Role.AMD_VEK, b"vcek"),)
    turin = f"fmcSPL=01&{query}"
    world.services.add_vcek("Turin", CHIP[:8], turin, b"turin")
    assert world.clients.amd.vcek(ProductLine.TURIN, CHIP, FIRMWARE) == ((Role.AMD_VEK, b"turin"),)
    other = FIRMWARE | {"snp": 23}
    assert refusal(lambda: world.clients.amd.vcek(ProductLine.MILAN, CHIP, other)) is (
        Reason.NO_ENDORSEMENT
    )


def test_chains_and_lists_of_amd_are_fetched(world: World) -> None:
    world.services.add_amd_chain("vlek", "Genoa", CHAIN)
    world.services.add_amd_crl("vcek", "Genoa", CRL)
    assert world.clients.amd.chain(ProductLine.GENOA, "vlek") == ((Role.AMD_CHAIN, CHAIN),)
    assert world.clients.amd.crl(ProductLine.GENOA, "vcek") == ((Role.AMD_CRL, CRL),)


def test_a_manifest_is_unpacked(world: World) -> None:
    world.services.add_rim("NV_GPU_DRIVER_GH100_550.90.07", b"<SoftwareIdentity/>")
    found = world.clients.nvidia.rim("NV_GPU_DRIVER_GH100_550.90.07")
    assert found == ((Role.NVIDIA_RIM, b"<SoftwareIdentity/>"),)


@pytest.mark.parametrize(
    "rim_id",
    ["", "../../etc/passwd", "a/b", "a?b=c", "a#b", ".hidden", "a..b", "a b", "é", "a" * 200],
)
def test_an_id_that_leads_elsewhere_is_not_asked_for(world: World, rim_id: str) -> None:
    assert refusal(lambda: world.clients.nvidia.rim(rim_id)) is Reason.FOREIGN_ADDRESS
    assert world.services.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"rim":"!"}',
        b'{"rim":""}',
        b'{"rim":7}',
        b'{"id":"OTHER","rim":"AAAA"}',
        b'{"rim":"QR=="}',
        b'{"rim":"AAAA","rim":"BBBB"}',
    ],
    ids=["empty", "none", "no base64", "nothing", "number", "other id", "stray bits", "twice"],
)
def test_an_answer_without_the_manifest_is_refused(world: World, body: bytes) -> None:
    world.services.edit(world.services.add_rim("RIM", b"x"), body=body)
    assert refusal(lambda: world.clients.nvidia.rim("RIM")) is Reason.VENDOR_ANSWER


def test_the_keys_of_the_issuer_of_tokens_are_fetched_and_kept_for_an_hour(world: World) -> None:
    keys = nvidia_token.jwk_set()
    world.services.add_jwks(keys)
    for minutes, asked in ((0, 1), (60, 1), (61, 2)):
        world.now = NOW + timedelta(minutes=minutes)
        assert world.clients.nvidia.jwks() == ((Role.NVIDIA_JWKS, keys),)
        assert len(world.services.asked) == asked


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"keys":1}', b'{"keys":[],"keys":[]}'], ids=range(5)
)
def test_an_answer_without_keys_is_refused(world: World, body: bytes) -> None:
    world.services.edit(world.services.add_jwks(b""), body=body)
    assert refusal(world.clients.nvidia.jwks) is Reason.VENDOR_ANSWER


def test_the_responder_is_asked_about_one_certificate_and_its_answer_kept_for_a_while(
    world: World,
) -> None:
    answer = ocsp_response(DEVICE, ROOT, ROOT, at=NOW, life=timedelta(minutes=10))
    world.services.add_ocsp(DEVICE.certificate.serial_number, answer)
    for minutes, asked in ((0, 1), (10, 1), (11, 2)):
        world.now = NOW + timedelta(minutes=minutes)
        assert world.clients.nvidia.ocsp(DEVICE.der, ROOT.der) == ((Role.NVIDIA_OCSP, answer),)
        # After its last moment it is asked for anew, and never kept.
        assert len(world.services.asked) == asked


def test_an_answer_that_says_nothing_of_a_certificate_is_refused(world: World) -> None:
    world.services.add_ocsp(7, b"another's")
    assert refusal(lambda: world.clients.nvidia.ocsp(DEVICE.der, ROOT.der)) is Reason.VENDOR_ANSWER
    world.services.add_ocsp(ROOT.certificate.serial_number, b"\x30\x00")
    assert refusal(lambda: world.clients.nvidia.ocsp(ROOT.der, ROOT.der)) is Reason.VENDOR_ANSWER


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": 500}, Reason.REMOTE_STATUS),
        ({"status": 429}, Reason.REMOTE_STATUS),
        ({"status": 404}, Reason.NO_ENDORSEMENT),
        ({"status": 302, "headers": {"Location": "/amd/vcek/v1/Milan/crl"}}, Reason.REMOTE_STATUS),
        ({"body": bytes(2 * 1024 * 1024)}, Reason.ANSWER_TOO_LARGE),
        ({"body": b"no list"}, Reason.VENDOR_ANSWER),
    ],
    ids=["failing", "too often", "nothing", "redirected", "too large", "no list"],
)
def test_a_service_that_misbehaves_is_told_apart(
    world: World, changes: dict[str, object], reason: Reason
) -> None:
    target = world.services.add_amd_crl("vcek", "Genoa", CRL)
    world.services.edit(target, **changes)
    for _ in range(2):
        assert refusal(lambda: world.clients.amd.crl(ProductLine.GENOA, "vcek")) is reason
    # Remembered: it was asked once.
    assert len(world.services.asked) == 1


def test_a_certificate_is_bounded(world: World) -> None:
    query = "blSPL=03&teeSPL=00&snpSPL=22&ucodeSPL=213"
    world.services.add_vcek("Milan", CHIP, query, bytes(MAX_VEK_BYTES + 1))
    with pytest.raises(LimitExceededError):
        world.clients.amd.vcek(ProductLine.MILAN, CHIP, FIRMWARE)


def test_a_service_that_is_silent_is_left_in_time() -> None:
    with Services() as services:
        services.replies["/nitro/crl/a.crl"] = Reply(CRL, pause=60)
        http = HTTPClient(timeout=timedelta(seconds=0.2))
        client = CRLClient(http, VendorCache(lambda: NOW), [services.host])
        with pytest.raises(UnavailableError) as caught:
            client.fetch(f"{services.url}/nitro/crl/a.crl")
        assert caught.value.reason is Reason.DEADLINE


def test_nobody_there_is_said_so() -> None:
    with Services() as services:
        settings = services.settings()
    clients = VendorEndorser.open(settings, lambda: NOW).vendors
    assert refusal(clients.intel.root_crl) is Reason.UNREACHABLE


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost{port}/nitro/crl/root.crl",
        "http://127.0.0.1/nitro/crl/root.crl",
        "http://127.0.0.1{port}@evil.example/root.crl",
        "http://evil.example/#@127.0.0.1{port}/root.crl",
        "http://127.0.0.1{port}.evil.example/root.crl",
        "http://127.0.0.1{port}/nitro/crl/root.crl?x=y",
        "http://127.0.0.1{port}/a b",
        "http://127.0.0.1{port}/",
        "http://127.0.0.1{port}\\@evil.example/x",
        "http://127.0.0.1{port}/%2e%2e/x",
        "file:///etc/passwd",
        "ldap://127.0.0.1{port}/x",
        "gopher://127.0.0.1{port}/x",
        "//127.0.0.1{port}/x",
        "",
    ],
)
def test_an_address_in_evidence_that_is_not_the_operators_is_not_asked(
    world: World, url: str
) -> None:
    port = f":{world.services.host.partition(':')[2]}"
    with pytest.raises(RefusedError) as caught:
        world.clients.nitro.fetch(url.replace("{port}", port))
    assert caught.value.reason is Reason.FOREIGN_ADDRESS
    assert world.services.asked == []


def test_a_redirection_of_a_list_leads_nowhere(world: World) -> None:
    world.services.replies["/nitro/crl/a.crl"] = Reply(
        status=302, headers={"Location": f"{world.services.url}/amd/secret"}
    )
    act = lambda: world.clients.nitro.fetch(f"{world.services.url}/nitro/crl/a.crl")  # noqa: E731
    assert refusal(act) is Reason.REMOTE_STATUS
    assert world.services.asked == ["GET /nitro/crl/a.crl"]


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("crl-*-aws-nitro-enclaves.s3.*.amazonaws.com",
         "crl-us-east-1-aws-nitro-enclaves.s3.us-east-1.amazonaws.com", True),
        ("crl-*-aws-nitro-enclaves.s3.*.amazonaws.com",
         "crl-x.evil.example/-aws-nitro-enclaves.s3.y.amazonaws.com", False),
        ("crl-*-aws-nitro-enclaves.s3.*.amazonaws.com",
         "crl-a-aws-nitro-enclaves.s3.b.c.amazonaws.com", False),
        ("aws-nitro-enclaves-crl.s3.amazonaws.com",
         "aws-nitro-enclaves-crl-s3.amazonaws.com", False),
        ("a.example", "a.example:8080", False),
        ("a.example:8080", "a.example:8080", True),
        ("a.example", "A.EXAMPLE", True),
    ],
)  # fmt: skip
def test_a_star_stands_for_part_of_a_name_only(pattern: str, host: str, fits: bool) -> None:
    class Asked(Exception):  # noqa: N818 - no error
        pass

    class Nobody(HTTPClient):
        def get(self, *_: object, **__: object) -> None:  # type: ignore[override]  # never answers
            raise Asked

    client = CRLClient(Nobody(), VendorCache(lambda: NOW), [pattern])
    with pytest.raises(Asked if fits else RefusedError):
        client.fetch(f"http://{host}/crl/x.crl")


@pytest.mark.parametrize("pattern", ["", "a/b", "A.example", "a.example:0", "http://a", "a b", "."])
def test_what_is_no_host_is_refused_at_start(pattern: str) -> None:
    with pytest.raises(MalformedError) as caught:
        CRLClient(HTTPClient(), VendorCache(lambda: NOW), [pattern])
    assert caught.value.reason is Reason.BAD_SETTING


def test_nothing_of_that_name_is_an_answer() -> None:
    with Services() as services:
        client = CRLClient(HTTPClient(), VendorCache(lambda: NOW), [services.host])
        with pytest.raises(NotFoundError):
            client.fetch(f"{services.url}/nitro/crl/none.crl")
