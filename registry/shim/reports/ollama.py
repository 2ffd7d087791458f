"""Ollama: the digest of a model's manifest, and of the files that it is made from.

``GET /api/tags`` lists models with the SHA-256 of their manifests; ``POST /api/show`` has the
Modelfile, whose ``FROM`` and ``ADAPTER`` lines name files in a store where each is called by its
SHA-256 (``…/blobs/sha256-<hex>``), the template of prompts, and how weights are quantised.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from registry.core.records.inference import Report
from registry.shim.reports.wanted import (
    Asking,
    Wanted,
    digest_of,
    long_text,
    objects,
    part,
    text,
    unlike,
)

MAX_FILES: Final = 16
"""Files of one model that are named."""

_SHA256: Final = re.compile(r"\A(?:sha256:)?([0-9a-f]{64})\Z", re.ASCII)
_LATEST: Final = ":latest"


def read(asking: Asking, wanted: Wanted) -> Report:
    """What an Ollama says of the model.

    Raises:
        RegistryError: It does not say it.
    """
    tags = {text(item, "name"): item for item in objects(asking.get("/api/tags"), "models")}
    name = wanted.name
    if name and name not in tags and name + _LATEST in tags:
        name += _LATEST
    name = Wanted(name, wanted.version, wanted.reference).among(tags, "/api/tags")
    found = _SHA256.match(text(tags[name], "digest"))
    if found is None:
        raise unlike("/api/tags", "a SHA-256")
    shown = asking.post("/api/show", {"model": name})
    modelfile = long_text(shown, "modelfile")
    return Report(
        interface="ollama",
        model=name,
        digest=found[1],
        weights=tuple(_files("FROM", modelfile)),
        adapters=tuple(_files("ADAPTER", modelfile)),
        chat_template=digest_of(shown, "template") or msgspec.UNSET,
        quantization=text(part(shown, "details"), "quantization_level"),
        engine="ollama",
        engine_version=text(asking.get("/api/version"), "version"),
    )


def _files(instruction: str, modelfile: str) -> Iterator[str]:
    """The digests of the files that lines with this instruction name."""
    pattern = rf"^[ \t]*(?i:{instruction})[ \t]+\S*[/\\]sha256[-:]([0-9a-f]{{64}})[ \t]*\r?$"
    found = re.findall(pattern, modelfile, re.ASCII | re.MULTILINE)
    if len(found) > MAX_FILES:
        raise unlike("/api/show", f"at most {MAX_FILES} files")
    yield from found
