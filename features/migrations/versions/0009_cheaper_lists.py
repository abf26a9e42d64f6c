"""Stored lists are compressed by lz4 where the server has it."""

from pathlib import Path

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Compress what is stored from here on by lz4; what is there stays as it is, and readable."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Compress as the server does by default; what lz4 compressed stays readable."""
    op.execute(
        """
        DO $$
        BEGIN
            IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression') THEN
                ALTER TABLE recommendations_cache
                    ALTER recommended_tracks_json SET COMPRESSION default;
            END IF;
        END $$
        """
    )
