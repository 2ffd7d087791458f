"""Which interface of a model server is asked, and how it is reached."""

from typing import Final, Literal

from registry.errors import MalformedError, Reason
from registry.remote.http import HTTPClient
from registry.shim.reports import ollama, open_inference, openai
from registry.shim.reports.wanted import TIMEOUT, Asking, Reader, Wanted
from registry.shim.serving import Upstream
from registry.shim.tls import client_context

Interface = Literal["ollama", "llama.cpp", "openai", "open-inference"]
"""An interface over which model servers say what they serve."""

_READERS: Final = {
    "ollama": ollama.read,
    "llama.cpp": openai.read_llama_cpp,
    "openai": openai.read,
    "open-inference": open_inference.read,
}


def reader_of(interface: Interface, upstream: Upstream, wanted: Wanted) -> Reader:
    """What asks a model server over one of its interfaces; nothing is asked yet.

    Raises:
        MalformedError: ``BAD_SETTING``: this address does not have that interface, the interface
            wants a name, or a TLS file cannot be used.
    """
    if upstream.speaks_grpc:
        if interface != "open-inference":
            raise MalformedError(
                Reason.BAD_SETTING,
                "a model server that is spoken to in gRPC has no such interface",
                where=f"--report {interface}",
                expected="--report open-inference",
            )
        return open_inference.grpc_reader(upstream, wanted)
    if interface == "open-inference" and not wanted.name:
        open_inference.require_name(wanted)
    tls = None
    if upstream.url.startswith("https:"):
        tls = client_context(upstream.ca_file, upstream.pair)
    client = HTTPClient(timeout=TIMEOUT, tls=tls)
    asking, read = Asking(upstream.url, client), _READERS[interface]
    return lambda: read(asking, wanted)
