"""Tables and the naming convention. Log tables are append-only; catalog tables can be rebuilt."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives only a column of type INTEGER the row id itself.
Position = BigInteger().with_variant(Integer, "sqlite")

# --- The log: truth. Rows are only ever added. ---

entries = Table(
    "log_entries",
    metadata,
    Column("entry_index", Position, primary_key=True, autoincrement=False),
    Column("leaf_hash", LargeBinary(32), nullable=False),
    Column("record_id", LargeBinary(32), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    UniqueConstraint("leaf_hash"),
    Index("ix_log_entries_record_id", "record_id"),
)

# Envelopes that came after their entries: the signature was logged before, without the statement.
attachments = Table(
    "log_attachments",
    metadata,
    Column("entry_index", Position, primary_key=True, autoincrement=False),
    Column("envelope", LargeBinary, nullable=False),
)

checkpoints = Table(
    "log_checkpoints",
    metadata,
    Column("size", Position, primary_key=True, autoincrement=False),
    Column("note", LargeBinary, nullable=False),
)

# One row if the log was frozen: it ends with this many entries. POSIX seconds.
log_end = Table(
    "log_end",
    metadata,
    Column("size", Position, primary_key=True, autoincrement=False),
    Column("frozen_at", BigInteger, nullable=False),
)

# Tokens of timestamp authorities, each with the signed checkpoint that it is over. An authority is
# named by the digest of its pinned chain; microseconds since 1970.
timestamps = Table(
    "log_timestamps",
    metadata,
    Column("size", Position, primary_key=True, autoincrement=False),
    Column("authority", LargeBinary(32), primary_key=True),
    Column("stamped_at", BigInteger, nullable=False),
    Column("note", LargeBinary, nullable=False),
    Column("token", LargeBinary, nullable=False),
)

# The second checkpoint slot, one row: what witnesses cosigned cannot be made again, only asked for.
cosigned = Table(
    "cosigned_checkpoint",
    metadata,
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("note", LargeBinary, nullable=False),
)

# --- Access: truth. Who may call; tokens only as hashes. ---

principals = Table(
    "principals",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("roles", String(256), nullable=False),
    Column("namespaces", String, nullable=False),
    Column("revoked_at", BigInteger),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    Column("principal", String(64), ForeignKey("principals.name"), nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Index("ix_tokens_principal", "principal"),
)

# --- Challenges: truth. What was issued and by which entry it was used; Unix seconds. ---

challenges = Table(
    "challenges",
    metadata,
    Column("nonce", LargeBinary(32), primary_key=True),
    Column("principal", String(64), nullable=False),
    Column("session_key", LargeBinary, nullable=True),
    Column("issued_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("device_entry", BigInteger, nullable=True),
    Column("gpu_entry", BigInteger, nullable=True),
    Index("ix_challenges_expires_at", "expires_at"),
    Index("ix_challenges_principal_expires_at", "principal", "expires_at"),
)

# --- Derived: tiles and catalog. `provreg db rebuild` makes them again. ---

tiles = Table(
    "log_tiles",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("tile_index", Position, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

blobs = Table(
    "blobs",
    metadata,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("sha512", LargeBinary(64), nullable=False),
    Column("size", BigInteger, nullable=False),
)

statements = Table(
    "statements",
    metadata,
    Column("entry_index", Position, primary_key=True, autoincrement=False),
    Column("predicate_type", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("version", String(128), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("principal", String(64), nullable=False),
    Index(
        "ix_statements_predicate_type_name_version",
        "predicate_type",
        "name",
        "version",
        "entry_index",
    ),
    Index("ix_statements_key_id", "key_id"),
)

versions = Table(
    "versions",
    metadata,
    Column("predicate_type", String(256), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("version", String(128), primary_key=True),
    Column("entry_index", Position, nullable=False),
)

batches = Table(
    "inference_batches",
    metadata,
    Column("entry_index", Position, primary_key=True, autoincrement=False),
    Column("shim_id", LargeBinary(16), nullable=False),
    Column("n_first", BigInteger, nullable=False),
    Column("n_last", BigInteger, nullable=False),
    Column("record_id", LargeBinary(32), nullable=False),
    Column("principal", String(64), nullable=False),
    Column("leaves", LargeBinary(32), nullable=False),
    Column("hashes", LargeBinary(32), nullable=False),
    Column("last_leaf", LargeBinary(32), nullable=False),
    Column("landmarks", LargeBinary, nullable=True),
    UniqueConstraint("shim_id", "n_first"),
)

output_runs = Table(
    "output_runs",
    metadata,
    Column("run_id", Position, primary_key=True, autoincrement=False),
    Column("level", Integer, nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("complete", Integer, nullable=False),
)

output_pages = Table(
    "output_pages",
    metadata,
    Column("run_id", Position, primary_key=True, autoincrement=False),
    Column("first_key", LargeBinary(8), primary_key=True),
    Column("page", Integer, primary_key=True, autoincrement=False),
    Column("last_key", LargeBinary(8), nullable=False),
    Column("data", LargeBinary, nullable=False),
)

# One row for each piece of evidence that a result speaks of. ``evidence`` is its id, or the digest
# of bytes that cannot be read; ``key_id`` is empty if it is bound to no key; Unix seconds.
results = Table(
    "attestation_results",
    metadata,
    Column("entry_index", Position, primary_key=True, autoincrement=False),
    Column("family", String(32), primary_key=True),
    Column("evidence", LargeBinary(32), nullable=False),
    Column("raw_evidence", LargeBinary(32), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("question", String(8), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("is_authentic", Integer, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("verifier", String(256), nullable=False),
    Index("ix_attestation_results_evidence_entry_index", "evidence", "entry_index"),
    Index("ix_attestation_results_raw_evidence_entry_index", "raw_evidence", "entry_index"),
    Index("ix_attestation_results_key_id_entry_index", "key_id", "entry_index"),
    Index("ix_attestation_results_verifier_entry_index", "verifier", "entry_index"),
)

DERIVED = (tiles, blobs, statements, versions, batches, output_runs, output_pages, results)
"""Tables that ``provreg db rebuild`` empties and fills again."""
