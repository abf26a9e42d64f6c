"""Spotify grants, the standing of each outside source, and audio features that are estimates."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add tables and a column; nothing that the release before reads changes."""
    op.get_bind().exec_driver_sql(
        Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").replace("%", "%%")
    )


def downgrade() -> None:
    """Remove them; estimates go with the flag that tells them apart."""
    op.execute("DROP TABLE postponed_work, source_standing, spotify_grants")
    op.execute("DELETE FROM audio_features WHERE source = 'audio_estimator'")
    op.execute(
        "ALTER TABLE audio_features DROP CONSTRAINT audio_features_estimates_are_no_truth,"
        " DROP COLUMN estimated"
    )
