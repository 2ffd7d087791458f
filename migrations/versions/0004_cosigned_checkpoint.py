"""Keep the newest checkpoint that enough witnesses cosigned, in a slot of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "cosigned_checkpoint",
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("slot", name=op.f("pk_cosigned_checkpoint")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("cosigned_checkpoint")
