"""The Open Inference Protocol (Triton, KServe): which version of a model is served, and by what.

Model metadata, over REST or gRPC, list the versions of a model; server metadata name the server and
its own version. No digest is in either.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

import grpc

from registry.core.records.inference import Report
from registry.errors import MalformedError, NotFoundError, Reason, UnavailableError
from registry.shim.reports.wanted import (
    MAX_NAME_CHARACTERS,
    TIMEOUT,
    Asking,
    Wanted,
    text,
    texts,
    unlike,
)
from registry.shim.serving import Upstream
from registry.shim.tls import client_files
from registry.wire import model_metadata

_SERVICE: Final = "/inference.GRPCInferenceService/"


def read(asking: Asking, wanted: Wanted) -> Report:
    """What a server says over REST.

    Raises:
        RegistryError: It does not say it.
    """
    name = require_name(wanted)
    path = f"/v2/models/{quote(name, safe='')}"
    if wanted.version:
        path += f"/versions/{quote(wanted.version, safe='')}"
    model = asking.get(path)
    versions = texts(model, "versions")
    server = asking.get("/v2")
    return _report(
        text(model, "name"), versions, wanted, text(server, "name"), text(server, "version")
    )


def grpc_reader(upstream: Upstream, wanted: Wanted) -> Callable[[], Report]:
    """What asks a server over gRPC, by a channel of its own each time.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    name, open_channel = require_name(wanted), _channel(upstream)

    def ask() -> Report:
        with open_channel() as channel:
            asked = model_metadata.write_question(name, wanted.version)
            model = _call(channel, "ModelMetadata", asked)
            server = _call(channel, "ServerMetadata", model_metadata.write_question())
        said, versions = model_metadata.read_model(model)
        engine, engine_version = model_metadata.read_server(server)
        for each in (said, engine, engine_version):
            if len(each) > MAX_NAME_CHARACTERS or not each.isprintable():
                raise unlike("metadata", "short texts")
        return _report(said, versions, wanted, engine, engine_version)

    return ask


def _call(channel: grpc.Channel, method: str, message: bytes) -> bytes:
    call: Any = channel.unary_unary(_SERVICE + method)
    try:
        answer: bytes = call(message, timeout=TIMEOUT.total_seconds())
    except grpc.RpcError as error:
        # What is raised here is a call as well, which the stubs do not say.
        status: Any = error
        raise UnavailableError(
            Reason.UNREPORTED,
            "the model server does not say what it serves",
            where=method,
            actual=f"grpc status {status.code().name}",
        ) from error
    return answer


def require_name(wanted: Wanted) -> str:
    """The name of the model, which this interface needs.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    if not wanted.name:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this interface is asked for one model by its name",
            where="--report open-inference",
            hint="name it as the model server does: --served-as NAME or NAME/VERSION",
        )
    return wanted.name


def _report(
    name: str, versions: Sequence[str], wanted: Wanted, engine: str, engine_version: str
) -> Report:
    if name != wanted.name:
        raise unlike("metadata", f"model {wanted.name}")
    version = wanted.version
    if not version:
        if len(versions) > 1:
            raise NotFoundError(
                Reason.UNREPORTED,
                "the model server serves several versions, and does not say which answers",
                where=name,
                actual=", ".join(each[:40] for each in versions[:5]),
                hint="name one: --served-as NAME/VERSION",
            )
        version = versions[0] if versions else ""
    elif version not in versions:
        raise unlike("metadata", f"version {version}")
    if len(version) > MAX_NAME_CHARACTERS or not version.isprintable():
        raise unlike("metadata", "short versions")
    return Report(
        interface="open-inference",
        model=name,
        version=version,
        engine=engine,
        engine_version=engine_version,
    )


def _channel(upstream: Upstream) -> Callable[[], grpc.Channel]:
    parts = urlsplit(upstream.url)
    if parts.scheme != "grpcs":
        return lambda: grpc.insecure_channel(parts.netloc)
    credentials = grpc.ssl_channel_credentials(*client_files(upstream.ca_file, upstream.pair))
    return lambda: grpc.secure_channel(parts.netloc, credentials)
