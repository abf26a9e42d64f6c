"""Every table, index and function of the first release."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None

TABLES = (
    "feature_builds, quarantine, imports, music_genre_preferences, music_rl_models, "
    "music_interactions, music_recommendations, recommendations_cache, personality_features, "
    "personality_scores, listening_history, artist_plays, plays, artist_audio_features, "
    "audio_features, tracks, users"
)
FUNCTIONS = (
    "get_user_top_50_tracks(text), get_active_personality_profile(text), "
    "upsert_listening_history(text, text, timestamptz, integer, text), "
    "clean_expired_recommendations()"
)


def upgrade() -> None:
    """Create everything in one transaction."""
    # Not text(): it would take the ':=' and '::' of the functions' bodies for parameters.
    op.get_bind().exec_driver_sql(
        Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").replace("%", "%%")
    )


def downgrade() -> None:
    """Drop everything; the functions first, since they name the tables."""
    op.execute(f"DROP FUNCTION {FUNCTIONS}")
    op.execute(f"DROP TABLE {TABLES}")
    op.execute("DROP FUNCTION refuse_change()")
