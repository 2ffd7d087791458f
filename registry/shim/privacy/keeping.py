"""Keeping: from what a call said to what its record says of it, by the shim's policy."""

import errno
from dataclasses import dataclass

import msgspec

from registry.core.records import inference
from registry.core.records.field_commitments import Json, field_size, find
from registry.errors import MalformedError, Reason, RegistryError, UnavailableError
from registry.shim.privacy.policy import PrivacyPolicy
from registry.shim.privacy.sealed_payload import Opened, Payload
from registry.shim.privacy.vault import Vault

MAX_FIELDS_BYTES = 8 * 1024 * 1024
"""Bytes of all fields of one call as they are written: paths that a policy names may overlap."""

MAX_MISSED_CHARACTERS = 200
"""Characters of what a record says could not be had."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a call said.

    Attributes:
        request: The request's bytes; with several messages, each framed as in its wire digest.
        answer: Those of the answer.
        document: Request and answer as JSON documents, each absent if it is none; numbers as the
            texts that spell them.
        too_large: Whether the call was too long to be held whole.
    """

    request: bytes
    answer: bytes
    document: dict[str, Json]
    too_large: bool = False


class Keeping:
    """Commits to fields and seals payloads; each call in whatever thread it likes."""

    def __init__(self, policy: PrivacyPolicy, vault: Vault) -> None:
        """Take the policy, and where payloads are kept."""
        self.policy = policy
        self._vault = vault

    def keep(
        self,
        receipt: str,
        n: int,
        response: inference.Response,
        content: Content,
        *,
        strict: bool,
    ) -> tuple[inference.Response, inference.Private]:
        """Seal what call ``n`` said, durably, and make what its record says of it.

        Args:
            receipt: Shim id and number of the intent.
            n: The number of the intent.
            response: The response with its digests in clear.
            content: What the call said.
            strict: Whether a payload that cannot be kept is an error, instead of a note.

        Returns:
            The response as the record has it, and what it says besides. Where the policy asks for
            committed digests they are committed whatever else fails; if nothing could be kept,
            nobody can open them.

        Raises:
            UnavailableError: ``STORAGE_FAILED``, if ``strict``.
        """
        policy = self.policy
        missed: list[str] = []
        fields = self._fields(content.document, missed)
        request, answer = (content.request, content.answer) if policy.keep else (b"", b"")
        if content.too_large:
            missed.append("the call is too large to be kept")
            request = answer = b""
        payload = Payload(
            receipt,
            policy.retention_class,
            fields,
            bytes.fromhex(response.content_digest),
            bytes.fromhex(response.wire_digest),
            request,
            answer,
        )
        opened = Opened.new(payload)
        sealed: bytes | None = None
        try:
            sealed = self._vault.put(n, opened)
        except (OSError, MalformedError) as error:
            if strict:
                raise UnavailableError(
                    Reason.STORAGE_FAILED,
                    "what this call said cannot be kept",
                    where=f"retention class {policy.retention_class}",
                    actual=_kind(error),
                    hint="free disk space, or restore the key of the class",
                ) from error
            missed.append(f"nothing could be kept: {_kind(error)}")
        tree = opened.tree
        if policy.output == "committed":
            content_digest, wire_digest = (item.hex() for item in opened.committed_output)
            response = msgspec.structs.replace(
                response, content_digest=content_digest, wire_digest=wire_digest
            )
        return response, inference.Private(
            retention_class=policy.retention_class,
            output=policy.output,
            fields=0 if tree is None else len(tree.leaves),
            root=msgspec.UNSET if tree is None else tree.root.hex(),
            sealed=msgspec.UNSET if sealed is None else sealed.hex(),
            payload=opened.commitment.hex(),
            missed="; ".join(missed)[:MAX_MISSED_CHARACTERS],
        )

    def _fields(self, document: dict[str, Json], missed: list[str]) -> dict[str, Json]:
        found: dict[str, Json] = {}
        room = MAX_FIELDS_BYTES
        for path in self.policy.fields:
            there, value = find(document, path)
            if not there:
                continue
            try:
                size = field_size(path, value)
            except MalformedError:
                missed.append(f"{path} cannot be committed to")
                continue
            if size > room:
                missed.append(f"{path} is too large")
                continue
            room -= size
            found[path] = value
        return found


def _kind(error: Exception) -> str:
    """What failed, without a path or anything else of this host."""
    if isinstance(error, OSError):
        return errno.errorcode.get(error.errno or 0, "OSError")
    return error.reason if isinstance(error, RegistryError) else type(error).__name__
