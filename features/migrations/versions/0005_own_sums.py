"""Snapshots hold the listener's own sums beside the seed's Q-table."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; the release before leaves it null."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE music_rl_models DROP COLUMN own_sums")
