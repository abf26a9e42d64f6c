"""Audit of acting backends, receipts of deletions, lists ranked unseen, arms of experiments."""

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add tables and one nullable column."""
    op.get_bind().exec_driver_sql(
        Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").replace("%", "%%")
    )


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE music_recommendations DROP COLUMN arm")
    op.execute("DROP TABLE shadow_lists, deletions, acting_audit")
