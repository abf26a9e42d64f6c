"""Component vectors of a share of lists, for whoever recomputes them."""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the table; the release before does not know it."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Drop it."""
    op.execute("COMMENT ON COLUMN deletions.from_seq IS NULL")
    op.execute("DROP TABLE component_samples")
