"""Retention: nothing goes that a snapshot does not hold."""

from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_OID, uuid4, uuid5

import pytest
import sqlalchemy as sa

from features.interactions import ForgottenError, q_state, q_state_as_of
from features.retention import clean

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OLD = NOW - timedelta(days=100)


@pytest.fixture
def log(engine: sa.Engine) -> sa.Engine:
    """Ada skipped and liked by turns (no replay is ahead); two snapshots are kept."""
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO users VALUES ('ada', :old, 'test'), ('bob', :old, 'test')",
            "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, source, trainable)"
            " VALUES ('t', 'T', 'A', 'a', 'test', true)",
            "INSERT INTO music_interactions (event_id, user_id, episode, track_id, feedback_type,"
            " reward, state, occurred_at, received_at, source, trainable)"
            " SELECT gen_random_uuid(), u, e, 't', CASE WHEN e % 2 = 1 THEN 'skip' ELSE 'like' END,"
            " 0.5, 's', :old, :old, 'test', true"
            " FROM unnest(ARRAY['ada', 'bob']) u, generate_series(1, 29) e ORDER BY u, e",
            "INSERT INTO music_rl_models (user_id, version, through_seq, episodes, q_table,"
            " own_sums) VALUES ('ada', 1, 10, 10, '{\"s\": 0.1}', '{\"s\": [10.0, 5.0]}'),"
            " ('ada', 2, 20, 20, '{\"s\": 0.2}', '{\"s\": [20.0, 10.0]}')",
        ):
            connection.execute(sa.text(statement), {"old": OLD} if ":old" in statement else {})
    return engine


def left(engine: sa.Engine, user: str) -> list[tuple[int, str]]:
    query = (
        "SELECT episode, feedback_type FROM music_interactions WHERE user_id = :u ORDER BY episode"
    )
    with engine.connect() as connection:
        return [(row[0], row[1]) for row in connection.execute(sa.text(query), {"u": user})]


def test_only_old_skips_behind_the_oldest_snapshot_and_the_buffer_go(log: sa.Engine) -> None:
    before = left(log, "ada")
    with log.connect() as connection:
        learned = q_state(connection, "ada")
    assert clean(log, retention_days=90, now=NOW, buffer=4).interactions == 3
    assert left(log, "ada") == [
        row for row in before if row not in [(e, "skip") for e in (1, 3, 5)]
    ]
    assert left(log, "bob") == before  # no snapshot holds them
    with log.connect() as connection:
        assert q_state(connection, "ada") == learned
    assert clean(log, retention_days=90, now=NOW, buffer=4).interactions == 0


def test_a_table_as_of_then_is_refused_once_its_log_has_gone(log: sa.Engine) -> None:
    moment = OLD + timedelta(days=1)
    with log.begin() as connection:  # what comes after the moment does not matter
        connection.execute(
            sa.text(
                "INSERT INTO music_interactions (event_id, user_id, episode, track_id,"
                " feedback_type, reward, state, occurred_at, received_at, source, trainable)"
                " SELECT gen_random_uuid(), u, 30, 't', 'like', 1, 's', :now, :now, 'test', true"
                " FROM unnest(ARRAY['ada', 'bob']) u"
            ),
            {"now": NOW},
        )
        before = q_state_as_of(connection, "ada", moment)
        assert before.episode == 29
        assert q_state_as_of(connection, "ada", OLD - timedelta(days=1)).episode == 0
    clean(log, retention_days=90, now=NOW, buffer=4)
    with log.connect() as connection:
        for then in (OLD - timedelta(days=1), moment, NOW + timedelta(days=1)):
            with pytest.raises(ForgottenError, match="ada as of"):
                q_state_as_of(connection, "ada", then)
        assert q_state_as_of(connection, "bob", moment).table == pytest.approx(before.table)


@pytest.mark.parametrize(("days", "buffer"), [(None, 0), (101, 0), (90, 10_000)])
def test_what_is_young_or_may_be_replayed_stays(
    log: sa.Engine, days: int | None, buffer: int
) -> None:
    assert clean(log, retention_days=days, now=NOW, buffer=buffer).interactions == 0
    assert len(left(log, "ada")) == 29


@pytest.mark.parametrize("by_hand", [False, True])
def test_places_of_prepared_lists_that_nobody_was_shown_go_with_them(
    log: sa.Engine, *, by_hand: bool
) -> None:
    lists = {
        "prepared": (uuid5(NAMESPACE_OID, "a"), 1, OLD),
        "prepared and served": (uuid5(NAMESPACE_OID, "b"), 2, OLD),
        "prepared and answered": (uuid5(NAMESPACE_OID, "c"), 1, OLD),
        "prepared for tomorrow": (uuid5(NAMESPACE_OID, "d"), 1, datetime.now(UTC) + timedelta(1)),
        "called for": (uuid4(), 1, OLD),
    }
    with log.begin() as connection:
        for one, servings, expires_at in lists.values():
            connection.execute(
                sa.text(
                    "INSERT INTO recommendations_cache (recommendation_id, user_id, cache_key,"
                    " recommended_tracks_json, scores_json, metadata_json, recommendation_type,"
                    " total_candidates, final_count, generated_at, expires_at,"
                    " user_account_age_days, personality_snapshot, is_valid, servings)"
                    " VALUES (:id, 'ada', 'k', '[]', '{}', '{}', 'week_1', 1, 1, :old, :expires,"
                    " 0, '{}', true, :servings)"
                ),
                {"id": one, "old": OLD, "expires": expires_at, "servings": servings},
            )
            connection.execute(
                sa.text(
                    "INSERT INTO music_recommendations (recommendation_id, user_id, position,"
                    " track_id, score, components, rl_adjustment, propensity, policy,"
                    " model_versions, state) VALUES (:id, 'ada', 1, 't', 0, '{}', 0, 1, 'greedy',"
                    " '{}', 's')"
                ),
                {"id": one},
            )
        connection.execute(
            sa.text(
                "INSERT INTO music_interactions (event_id, user_id, episode, track_id,"
                " feedback_type, reward, state, recommendation_id, occurred_at, source, trainable)"
                " VALUES (gen_random_uuid(), 'ada', 30, 't', 'like', 1, 's', :id, :old, 'api',"
                " true)"
            ),
            {"id": lists["prepared and answered"][0], "old": OLD},
        )
    if by_hand:  # the contract's function alone
        with log.begin() as connection:
            assert connection.scalar(sa.text("SELECT clean_expired_recommendations()")) == 4
    else:
        cleaned = clean(log, retention_days=None, now=NOW)
        assert (cleaned.lists, cleaned.impressions, cleaned.samples) == (4, 1, 0)
    with log.connect() as connection:
        kept = set(
            connection.scalars(sa.text("SELECT recommendation_id FROM music_recommendations"))
        )
    assert {name for name, (one, *_) in lists.items() if one not in kept} == {"prepared"}
