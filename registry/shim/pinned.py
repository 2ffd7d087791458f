"""The pinned release on this host's disk, so that a shim starts while its registry is down."""

from pathlib import Path
from typing import Annotated

import msgspec

from registry.core import digest, encoding
from registry.core.encoding import Value
from registry.core.records.manifest import MAX_MANIFEST_BYTES, Manifest
from registry.core.records.names import Name, Version
from registry.core.records.release import RecordId
from registry.errors import MalformedError, Reason
from registry.shim.durable import replace_file
from registry.shim.release import PinnedRelease


class _Pinned(Value, frozen=True):
    log: Annotated[str, msgspec.Meta(max_length=1024)]
    manifest: str
    name: Name
    release: RecordId
    version: Version


class PinnedFile:
    """One file that holds the release that was verified last, and the log that proved it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, release: PinnedRelease, log: str) -> None:
        """Keep a verified release, durably."""
        said = _Pinned(
            log=log,
            manifest=encoding.base64_text(release.manifest.to_bytes()),
            name=release.name,
            release=digest.text(release.record_id),
            version=release.version,
        )
        replace_file(self._path, encoding.write_json(said))

    def read(self, name: str, version: str, log: str) -> PinnedRelease | None:
        """The release that was kept, if it is this one and this log proved it.

        Raises:
            MalformedError: What is wrong with the file.
        """
        if not self._path.exists():
            return None
        with self._path.open("rb") as file:
            data = file.read(2 * MAX_MANIFEST_BYTES + 1)
        if len(data) > 2 * MAX_MANIFEST_BYTES:
            raise MalformedError(
                Reason.MALFORMED_FIELD, "this is no pinned release", where=str(self._path)
            )
        said = encoding.read_json(data, _Pinned, what="pinned release")
        if (said.name, said.version, said.log) != (name, version, log):
            return None
        manifest = Manifest.parse(encoding.base64_bytes(said.manifest))
        return PinnedRelease(digest.parse(said.release), said.name, said.version, manifest)
