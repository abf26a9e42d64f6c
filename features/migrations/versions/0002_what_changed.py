"""What changed since the last feature build, genres per listener, popular tracks per category."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"

TRIGGERS = {
    "plays": ("plays_added", "plays_gone", "plays_before", "plays_after", "plays_emptied"),
    "tracks": ("tracks_added", "tracks_gone", "tracks_updated"),
    "audio_features": ("audio_added", "audio_gone", "audio_after"),
    "artist_plays": ("artist_plays_added", "artist_plays_gone", "artist_plays_after"),
    "artist_audio_features": ("artists_added", "artists_gone", "artists_after"),
    "listening_history": (
        "listening_history_gone",
        "listening_history_added",
        "listening_history_updated",
    ),
}
FUNCTIONS = (
    "note_plays()",
    "note_added_plays()",
    "note_tracks()",
    "note_updated_tracks()",
    "note_audio()",
    "note_undated()",
    "note_artists()",
    "note_lost_counts()",
    "note_written_history()",
    "note_everything()",
    "get_user_genre_distribution(text)",
    "get_popular_tracks(text, integer)",
)


def upgrade() -> None:
    """Add the tables and triggers; what stands already is marked as changed."""
    op.get_bind().exec_driver_sql(
        Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").replace("%", "%%")
    )


def downgrade() -> None:
    """Take them away; the release before builds the rest anew by itself.

    get_user_top_50_tracks stays: it says the same.
    """
    for table, triggers in TRIGGERS.items():
        for trigger in triggers:
            op.execute(f"DROP TRIGGER {trigger} ON {table}")
    op.execute(f"DROP FUNCTION {', '.join(FUNCTIONS)}")
    op.execute("DROP TABLE popular_tracks, track_listeners, listener_genres, feature_changes")
    op.execute("DROP INDEX tracks_isrc")
    op.execute(
        "ALTER TABLE plays DROP CONSTRAINT plays_pkey,"
        " ADD PRIMARY KEY (user_id, track_id, played_at)"
    )
    op.execute("DROP INDEX listening_history_played_at")
    op.execute("CREATE INDEX listening_history_played_at ON listening_history (played_at)")
    op.execute("ALTER TABLE listening_history RESET (fillfactor)")
    op.execute("CREATE INDEX plays_user_played_at ON plays (user_id, played_at)")
    op.execute("ALTER TABLE listening_history DROP COLUMN counted")
    op.execute(
        "ALTER TABLE listening_history ADD CONSTRAINT listening_history_track_id_fkey"
        " FOREIGN KEY (track_id) REFERENCES tracks"
    )
