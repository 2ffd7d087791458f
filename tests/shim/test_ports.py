"""The client that the shim is given in earnest has what the shim needs of a registry."""

from registry.client.evidence import EvidenceCalls
from registry.client.registry import RegistryClient
from registry.shim.ports import EvidenceRegistry, Registry


def as_port(client: RegistryClient) -> Registry:
    """Passes the type checker only while the client keeps to the port."""
    return client


def as_evidence_port(calls: EvidenceCalls) -> EvidenceRegistry:
    """As :func:`as_port`."""
    return calls


def test_the_client_has_every_method_of_the_port() -> None:
    wanted = {name for name in vars(Registry) if not name.startswith("_")}
    assert wanted == {"register_batch", "shim_head", "consistency"}
    assert wanted <= set(dir(RegistryClient))


def test_the_client_has_every_method_of_the_port_of_evidence() -> None:
    wanted = {name for name in vars(EvidenceRegistry) if not name.startswith("_")}
    assert wanted == {"challenge", "submit"}
    assert wanted <= set(dir(EvidenceCalls))
