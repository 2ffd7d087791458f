"""How migrations run: a transaction for each revision, with timeouts on PostgreSQL."""

from alembic import context
from sqlalchemy import Connection, create_engine, text

from registry.storage.sql.tables import metadata

LOCK_TIMEOUT_MS = 4_000
STATEMENT_TIMEOUT_MS = 600_000
ADVISORY_LOCK = 0x6D69677261746531
"""``migrate1`` in ASCII: two migrations never run at once."""


def run(connection: Connection) -> None:
    """Run the migrations on ``connection``."""
    sqlite = connection.dialect.name == "sqlite"
    if not sqlite:
        connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT_MS}"))
        connection.execute(text(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}"))
        connection.execute(text(f"SELECT pg_advisory_lock({ADVISORY_LOCK})"))
        connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=sqlite,
        transaction_per_migration=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    if not sqlite:
        connection.execute(text(f"SELECT pg_advisory_unlock({ADVISORY_LOCK})"))
        connection.commit()


existing = context.config.attributes.get("connection")
if existing is not None:
    run(existing)
else:
    url = context.get_x_argument(as_dictionary=True)["url"]
    engine = create_engine(url)
    with engine.connect() as fresh:
        run(fresh)
    engine.dispose()
