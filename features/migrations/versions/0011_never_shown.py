"""Places of lists that nobody was shown go with the lists, by one rule."""

from pathlib import Path

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add two functions, and let the contract's use them."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Clean lists alone, as before."""
    op.execute(
        """
        CREATE OR REPLACE FUNCTION clean_expired_recommendations() RETURNS bigint LANGUAGE sql AS $$
            WITH gone AS (DELETE FROM recommendations_cache WHERE expires_at <= now() RETURNING 1)
            SELECT count(*) FROM gone
        $$;
        DROP FUNCTION forget_expired_lists();
        DROP FUNCTION was_never_shown(uuid, text, integer);
        """
    )
