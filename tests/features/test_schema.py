"""The contract's tables, columns, indexes and functions, read back from the catalogs."""

from threading import Timer

import pytest
import sqlalchemy as sa

from features.database import DatabaseUnavailableError
from features.migrations import check_schema, migrate

COLUMNS = {
    "listening_history": "user_id track_id track_name artist_name played_at play_count "
    "total_listen_time_ms",
    "recommendations_cache": "user_id recommended_tracks_json scores_json recommendation_type "
    "total_candidates final_count generated_at expires_at user_account_age_days "
    "personality_snapshot is_valid",
    "personality_scores": "user_id openness conscientiousness extraversion agreeableness "
    "neuroticism assessment_confidence assessment_method assessment_date total_questions "
    "raw_responses is_active",
    "music_interactions": "seq event_id user_id track_id feedback_type reward state "
    "recommendation_id position listen_duration_ms track_duration_ms context occurred_at "
    "received_at source trainable",
    "music_recommendations": "recommendation_id user_id position track_id score components "
    "rl_adjustment propensity policy model_versions state arm created_at",
    "music_rl_models": "user_id version through_seq q_table own_sums created_at",
    "music_genre_preferences": "user_id genre preference n updated_at",
    "users": "user_id created_at",
    "plays": "user_id track_id played_at ms_played source trainable arrived_at",
    "artist_plays": "user_id artist_name artist_key play_count source trainable",
    "tracks": "track_id isrc artist_name album_name release_date duration_ms explicit popularity",
    "audio_features": "track_id danceability energy valence tempo acousticness instrumentalness "
    "speechiness loudness liveness key mode source trainable updated_at estimated",
    "spotify_grants": "user_id token scope state granted_at refreshed_at history_at",
    "source_standing": "source endpoint closed_until limited_until last_success_at last_error",
    "postponed_work": "user_id kind not_before reason attempts",
    "personality_features": "user_id ideals weights",
    "listener_genres": "user_id category plays undated_plays",
    "track_listeners": "track_id listeners plays",
    "popular_tracks": "category rank track_id popularity listeners",
    "feature_changes": "kind user_id track_id",
    "acting_audit": "actor user_id call day calls first_at last_at",
    "deletions": "receipt_id deleted_at requested_by deleted",
    "nights": "night as_of status holder exit_code outcome report_path run_id",
    "night_steps": "night step status attempts seconds outcome",
    "probes": "address at ok milliseconds histograms",
    "component_samples": "recommendation_id user_id moment build_id model_versions track_ids "
    "components known",
    "shadow_lists": "recommendation_id user_id model_versions track_ids scores overlap_at_10",
}
INDEXED = {
    "listening_history": ("user_id", "played_at", "track_id"),
    "recommendations_cache": ("user_id", "expires_at", "is_valid"),
    "personality_scores": ("user_id", "is_active", "assessment_date"),
}


@pytest.mark.parametrize("table", COLUMNS)
def test_tables_have_the_contracts_columns(engine: sa.Engine, table: str) -> None:
    with engine.connect() as connection:
        found = set(
            connection.scalars(
                sa.text(
                    "SELECT column_name FROM information_schema.columns"
                    " WHERE table_schema = 'public' AND table_name = :table"
                ),
                {"table": table},
            )
        )
    assert set(COLUMNS[table].split()) <= found


@pytest.mark.parametrize(("table", "columns"), INDEXED.items())
def test_the_descriptions_indexes_exist(
    engine: sa.Engine, table: str, columns: tuple[str, ...]
) -> None:
    with engine.connect() as connection:
        definitions = list(
            connection.scalars(
                sa.text("SELECT indexdef FROM pg_indexes WHERE tablename = :table"),
                {"table": table},
            )
        )
    for column in columns:
        assert any(f"({column})" in definition for definition in definitions), column


def test_interactions_are_unique_per_listener_and_event(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        definitions = connection.scalars(
            sa.text("SELECT indexdef FROM pg_indexes WHERE tablename = 'music_interactions'")
        ).all()
    assert any("UNIQUE" in d and "(user_id, event_id)" in d for d in definitions)


def test_down_leaves_nothing_and_up_works_again(engine: sa.Engine) -> None:
    def objects() -> tuple[int, int]:
        with engine.connect() as connection:
            return tuple(
                connection.execute(
                    sa.text(
                        "SELECT (SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
                        "        AND tablename <> 'alembic_version'),"
                        "       (SELECT count(*) FROM pg_proc p JOIN pg_namespace n"
                        "        ON n.oid = p.pronamespace WHERE n.nspname = 'public')"
                    )
                ).one()
            )

    before = objects()
    migrate(engine, "base")
    assert objects() == (0, 0)
    migrate(engine)
    assert objects() == before


def test_a_table_in_use_is_not_waited_for_long_and_the_next_attempt_succeeds(
    engine: sa.Engine,
) -> None:
    def revision() -> object:
        with engine.connect() as connection:
            return connection.scalar(sa.text("SELECT version_num FROM alembic_version"))

    before = revision()
    with engine.connect() as reader:  # as a dump does: it holds what it reads until its end
        reader.execute(sa.text("SELECT FROM recommendations_cache LIMIT 1"))
        with pytest.raises(DatabaseUnavailableError, match=r"2 attempts of 0\.1 s: end them"):
            migrate(engine, "base", lock_seconds=0.1, attempts=2)
        assert revision() == before  # and not a table is gone, nor any caller kept waiting:
        with engine.begin() as caller:
            caller.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
            caller.execute(sa.text("UPDATE recommendations_cache SET is_valid = is_valid"))
        Timer(0.3, reader.rollback).start()
        migrate(engine, "base", lock_seconds=0.1, attempts=3)
    migrate(engine)
    assert revision() == before


def test_a_later_releases_schema_is_left_as_it_is(engine: sa.Engine) -> None:
    statement = "UPDATE alembic_version SET version_num = :to WHERE version_num = :of"
    with engine.begin() as connection:
        mine = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        connection.execute(sa.text(statement), {"of": mine, "to": "9999"})
    try:
        migrate(engine)
        check_schema(engine)
        with engine.connect() as connection:
            found = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        assert found == "9999"
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text(statement), {"of": "9999", "to": mine})


def test_stored_lists_are_compressed_by_lz4_where_the_server_has_it(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        has_lz4, compression = connection.execute(
            sa.text(
                "SELECT EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression'"
                "               AND 'lz4' = ANY(enumvals)),"
                " (SELECT CAST(attcompression AS text) FROM pg_attribute"
                "  WHERE attrelid = CAST('recommendations_cache' AS regclass)"
                "    AND attname = 'recommended_tracks_json')"
            )
        ).one()
    assert compression == ("l" if has_lz4 else "")


def test_interactions_cannot_be_changed(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO users VALUES ('ada', now(), 'test')"))
        connection.execute(
            sa.text(
                "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, source,"
                " trainable) VALUES ('t', 'T', 'A', 'a', 'test', true)"
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO music_interactions (event_id, user_id, episode, track_id,"
                " feedback_type, reward, state, occurred_at, source, trainable)"
                " VALUES (gen_random_uuid(), 'ada', 1, 't', 'like', 1, 's', now(), 'test', true)"
            )
        )
    with (
        pytest.raises(sa.exc.DBAPIError, match="append-only"),
        engine.begin() as connection,
    ):
        connection.execute(sa.text("UPDATE music_interactions SET reward = 2"))


def test_when_plays_came_in_is_known_from_migration_0010_on(engine: sa.Engine) -> None:
    """What was there stays without; who does not say when, as the release before, says now."""
    play = "INSERT INTO plays (user_id, track_id, played_at, ms_played, source, trainable)"
    migrate(engine, "base")
    try:
        migrate(engine, "0009")
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO users (user_id, source) VALUES ('u', 'test')"))
            connection.execute(
                sa.text(
                    "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, source,"
                    " trainable) VALUES ('t', 'T', 'A', 'a', 'test', true)"
                )
            )
            connection.execute(
                sa.text(f"{play} VALUES ('u', 't', '2026-01-01Z', 1000, 'test', true)")
            )
    finally:
        migrate(engine)
    with engine.begin() as connection:
        connection.execute(sa.text(f"{play} VALUES ('u', 't', '2026-01-02Z', 1000, 'test', true)"))
        connection.execute(
            sa.text("SELECT upsert_listening_history('u', 't', '2026-01-03Z', 1000, 'other')")
        )
        found = connection.execute(
            sa.text("SELECT arrived_at IS NULL, arrived_at = now() FROM plays ORDER BY played_at")
        ).all()
    assert [tuple(row) for row in found] == [(True, None), (False, True), (False, True)]
