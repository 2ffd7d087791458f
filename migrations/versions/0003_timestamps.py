"""Keep timestamps of checkpoints: when a checkpoint was there, by the word of an authority.

The note is kept with each token, for a token is worth nothing without the bytes that it is over.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "log_timestamps",
        sa.Column(
            "size",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("authority", sa.LargeBinary(length=32), nullable=False),
        sa.Column("stamped_at", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("size", "authority", name=op.f("pk_log_timestamps")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("log_timestamps")
