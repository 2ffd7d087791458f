"""Remember challenges, and list attestation results by evidence, key and verifier.

Challenges are primary: what was issued and not yet used is known nowhere else. Results are derived.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "challenges",
        sa.Column("nonce", sa.LargeBinary(length=32), nullable=False),
        sa.Column("principal", sa.String(length=64), nullable=False),
        sa.Column("session_key", sa.LargeBinary(), nullable=True),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("device_entry", sa.BigInteger(), nullable=True),
        sa.Column("gpu_entry", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("nonce", name=op.f("pk_challenges")),
    )
    op.create_index(op.f("ix_challenges_expires_at"), "challenges", ["expires_at"])
    op.create_index(
        op.f("ix_challenges_principal_expires_at"), "challenges", ["principal", "expires_at"]
    )
    op.create_table(
        "attestation_results",
        sa.Column("entry_index", _POSITION, autoincrement=False, nullable=False),
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column("evidence", sa.LargeBinary(length=32), nullable=False),
        sa.Column("raw_evidence", sa.LargeBinary(length=32), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("question", sa.String(length=8), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("is_authentic", sa.Integer(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("verifier", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("entry_index", "family", name=op.f("pk_attestation_results")),
    )
    for column in ("evidence", "raw_evidence", "key_id", "verifier"):
        op.create_index(
            op.f(f"ix_attestation_results_{column}_entry_index"),
            "attestation_results",
            [column, "entry_index"],
        )


def downgrade() -> None:
    """Go back."""
    op.drop_table("attestation_results")
    op.drop_table("challenges")
