"""Keep landmarks of each batch: one record is then found and proved without all the others.

Batches that were listed before have none, and are found the long way until the next rebuild.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    with op.batch_alter_table("inference_batches") as table:
        table.add_column(sa.Column("landmarks", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("inference_batches") as table:
        table.drop_column("landmarks")
