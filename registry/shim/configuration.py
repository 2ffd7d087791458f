"""The configuration of a shim: the settings that decide what is recorded, and how, by one digest.

A boot record names the digest: SHA-256 of these settings as RFC 8785 JSON. What stands under it is
kept in the shim's folder as ``configurations/<digest>.json``, before the record is written, so that
whoever runs the shim can show it and anybody can hash it again. In it are no secrets: no token, no
private key, and of addresses only what records have anyway. What merely says where clients ask,
whom health is told, or which certificates are believed is left out: it decides nothing of a record.
"""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.encoding import Count, Hex32, Text, Value
from registry.core.records.names import Name, Version
from registry.core.records.release import RecordId
from registry.shim.durable import make_folder, replace_file
from registry.shim.privacy.policy import PrivacyPolicy

SCHEMA: Final = "https://provreg.dev/shim-configuration/v1"
"""The schema of a configuration; a literal, because its type is one."""

FOLDER: Final = "configurations"
"""Where a shim keeps its configurations, each under its digest."""

MAX_CONFIGURATION_BYTES: Final = 256 * 1024
"""Bytes of a configuration; a policy with many fields is the largest part of one."""


class Serving(Value, frozen=True):
    """What a proxy is told of the model server, and what it does with calls.

    Attributes:
        mode: What is durable before an answer goes out.
        upstream: The model server's address.
        served_as: What the model server calls the model; calls to others are refused.
        engine: What its operator says of it: name, version, quantisation.
        engine_settings: What decides about the last bits of its outputs.
        files_verified: How many files of the version are compared and watched.
        adapters: SHA-256 of files on top of the model.
        tokenizer: SHA-256 of the tokenizer that was named; absent if none was.
        chat_template: SHA-256 of the template that was named; absent if none was.
        report: Which interface of the model server is asked what it serves; empty if none is.
    """

    mode: Literal["strict", "stream", "best_effort"]
    upstream: Text
    served_as: tuple[Text, ...] = ()
    engine: Text = ""
    engine_version: Text = ""
    quantization: Text = ""
    engine_settings: dict[str, Text] = msgspec.field(default_factory=dict)
    files_verified: Count = 0
    adapters: tuple[Hex32, ...] = ()
    tokenizer: Hex32 | msgspec.UnsetType = msgspec.UNSET
    chat_template: Hex32 | msgspec.UnsetType = msgspec.UNSET
    report: Text = ""


class Attestation(Value, frozen=True):
    """How the key is attested: whether that is required, and by which policies it is judged."""

    required: bool
    policy: Text
    gpu_policy: Text = ""


class Configuration(Value, frozen=True):
    """The settings of one shim that decide what is recorded.

    Attributes:
        release: The version that answers.
        key: The id of the key that signs batches.
        log: The verifier key of the log to which batches go.
        heartbeat_ms: Time between two heartbeats.
        batch_records: After how many records a batch is closed.
        batch_ms: After what time it is closed at latest.
        max_journal_bytes: How much may wait for the registry before no more calls are taken.
        serving: How a proxy serves; absent if calls are recorded within a process of others.
        privacy: The privacy policy; absent if there is none.
        attestation: How the key is attested; absent if it is not.
    """

    schema: Literal["https://provreg.dev/shim-configuration/v1"]
    software: Text
    name: Name
    version: Version
    release: RecordId
    key: Hex32
    log: Annotated[str, msgspec.Meta(max_length=1024)]
    heartbeat_ms: Count
    batch_records: Count
    batch_ms: Count
    max_journal_bytes: Count
    serving: Serving | msgspec.UnsetType = msgspec.UNSET
    privacy: PrivacyPolicy | msgspec.UnsetType = msgspec.UNSET
    attestation: Attestation | msgspec.UnsetType = msgspec.UNSET

    def to_bytes(self) -> bytes:
        """RFC 8785 JSON."""
        return encoding.write_json(self)

    @property
    def digest(self) -> str:
        """The SHA-256 that boot records name."""
        return sha256(self.to_bytes()).hex()

    @classmethod
    def parse(cls, data: bytes) -> "Configuration":
        """Read a configuration exactly.

        Raises:
            MalformedError: ``MALFORMED_JSON``, ``NOT_CANONICAL`` or what else is wrong with it.
        """
        return encoding.read_json(data, cls, what="shim configuration")

    def keep(self, folder: Path) -> str:
        """Keep it below the folder of a shim, durably, and give its digest.

        Raises:
            OSError: The disk does not take it.
        """
        kept = folder / FOLDER / f"{self.digest}.json"
        if not kept.exists():
            make_folder(kept.parent)
            replace_file(kept, self.to_bytes())
        return self.digest
