"""OpenAI-compatible servers: the names of their models, and what the servers are themselves.

``GET /v1/models`` has names; vLLM tells its version at ``/version``, llama.cpp its build, and the
template of prompts, at ``/props``. None names weights. A server that was started with the name and
version that are registered (``--served-model-name acme/x@1.2.0``, ``--alias``) names the version.
"""

import msgspec

from registry.core.records.inference import Report
from registry.shim.reports.wanted import Asking, Wanted, digest_of, objects, text


def read(asking: Asking, wanted: Wanted) -> Report:
    """What vLLM, or another server that has no interface of its own for it, says of the model.

    Raises:
        RegistryError: It does not say it.
    """
    models = {text(item, "id"): item for item in objects(asking.get("/v1/models"), "data")}
    name = wanted.among(models, "/v1/models")
    return Report(
        interface="openai",
        model=name,
        version=_version(name, wanted),
        engine=text(models[name], "owned_by"),
        engine_version=text(asking.find("/version"), "version"),
    )


def read_llama_cpp(asking: Asking, wanted: Wanted) -> Report:
    """What llama.cpp's server says of the model.

    Raises:
        RegistryError: It does not say it.
    """
    models = [text(item, "id") for item in objects(asking.get("/v1/models"), "data")]
    name = wanted.among(models, "/v1/models")
    props = asking.get("/props")
    return Report(
        interface="llama.cpp",
        model=name,
        version=_version(name, wanted),
        chat_template=digest_of(props, "chat_template") or msgspec.UNSET,
        engine="llama.cpp",
        engine_version=text(props, "build_info"),
    )


def _version(name: str, wanted: Wanted) -> str:
    """The version that a name names; a name alone names none."""
    return wanted.reference.partition("@")[2] if name == wanted.reference else ""
