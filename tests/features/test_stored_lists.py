"""Lists as they are stored: whole or not at all, once, and without waiting for the disk."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from features.prepared import committing
from features.recommendations import (
    ComputedList,
    Impression,
    known_lists,
    look_for_list,
    store_list,
    store_lists,
)
from features.users import Standing, ensure_user

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SHOWN = 2
COUNTS = sa.text(
    "SELECT (SELECT count(*) FROM recommendations_cache),"
    " (SELECT count(*) FROM music_recommendations)"
)


@pytest.fixture
def listeners(engine: sa.Engine) -> sa.Engine:
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, source,"
                " trainable) SELECT 't' || i, 'T', 'A', 'a', 'test', true"
                " FROM generate_series(1, 3) i"
            )
        )
        for user_id in ("ada", "bob"):
            ensure_user(connection, user_id, source="test", now=NOW)
    return engine


def list_of(user_id: str, **other: Any) -> ComputedList:
    tracks = [
        {
            "track_id": f"t{i}",
            "score": 0.1 + 0.2 * i,
            "components": {"novelty": 1 / 3, "history": 0.1 + 0.2},
            "rl_adjustment": -0.01 / 3,
            "propensity": 1 - 0.1 * i,
        }
        for i in (1, 2, 3)
    ]
    computed = ComputedList(
        recommendation_id=uuid.uuid4(),
        user_id=user_id,
        cache_key="key",
        recommendation_type="day_1",
        tracks=tracks,
        scores={"novelty": 1 / 3},
        metadata={"said": "it's 100%"},
        impressions=[
            Impression(position=i, state=f"s{i}", **track)  # type: ignore[arg-type]
            for i, track in enumerate(tracks[:SHOWN], 1)
        ],
        policy="epsilon_slots:0.1",
        model_versions={"scorer": 1},
        total_candidates=3,
        age_days=0,
        personality={},
        generated_at=NOW,
        expires_at=NOW + timedelta(days=1),
        revision=0,
        is_valid=True,
    )
    return msgspec.structs.replace(computed, **other)


def test_places_hold_the_values_of_their_tracks_to_the_last_digit(listeners: sa.Engine) -> None:
    one = list_of("ada", arm="champion")
    with committing(listeners).connect() as connection:
        assert look_for_list(connection, "ada", "key", now=NOW) == (Standing(0, 0), None)
        store_list(connection, one)
        stands, stored = look_for_list(connection, "ada", "key", now=NOW)
        assert stands == Standing(0, 0)
        assert stored == (one.tracks, one.metadata, one.recommendation_id)
        assert look_for_list(connection, "eve", "key", now=NOW) == (None, None)
        rows = connection.execute(
            sa.text("SELECT * FROM music_recommendations ORDER BY position")
        ).mappings()
        for row, impression in zip(rows, one.impressions, strict=True):
            for name in Impression.__struct_fields__:
                assert row[name] == getattr(impression, name), name
            assert (row["arm"], row["created_at"]) == ("champion", NOW)
            assert row["model_versions"] == {"scorer": 1}


@pytest.mark.parametrize("commits", [True, False])
def test_several_lists_are_stored_together_once(listeners: sa.Engine, commits: bool) -> None:
    several = [list_of("bob"), list_of("ada"), list_of("nobody"), list_of("ada", revision=7)]
    engine = committing(listeners) if commits else listeners
    for _ in range(2):  # of two attempts the first one stays
        with engine.begin() as connection:
            store_lists(connection, several)
            store_lists(connection, [])
            assert connection.execute(COUNTS).one() == (3, 3 * SHOWN)
    with listeners.connect() as connection:
        known = known_lists(connection, [one.recommendation_id for one in several])
        assert known == {one.recommendation_id for one in several if one.user_id != "nobody"}
        valid = connection.scalars(
            sa.text("SELECT user_id FROM recommendations_cache WHERE is_valid ORDER BY 1")
        )
        assert list(valid) == ["ada", "bob"]  # one of another revision is kept, and not served


def test_a_list_of_a_track_that_is_gone_leaves_nothing(listeners: sa.Engine) -> None:
    good, bad = list_of("ada"), list_of("bob")
    bad.tracks[1]["track_id"] = "gone"
    with committing(listeners).connect() as connection:
        with pytest.raises(sa.exc.IntegrityError):
            store_lists(connection, [good, bad])
        assert connection.execute(COUNTS).one() == (0, 0)


def test_nobody_waits_for_the_disk(listeners: sa.Engine) -> None:
    with listeners.connect() as connection:
        connection.execute(sa.text("SET synchronous_commit = on"))
        connection.commit()
        store_list(connection, list_of("ada"))
        assert connection.scalar(sa.text("SHOW synchronous_commit")) == "off"
        connection.commit()
        assert connection.scalar(sa.text("SHOW synchronous_commit")) == "on"
