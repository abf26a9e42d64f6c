"""When a play came in, beside when it was heard."""

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add `plays.arrived_at` and its index; rows of the release before get the default."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP INDEX plays_arrived_at")
    op.execute("ALTER TABLE plays DROP COLUMN arrived_at")
