"""What is asked for as of a moment equals what was there before anything later came in."""

import uuid
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features import interactions
from features.assessments import save_assessment
from features.interactions import Interaction, QState
from features.listeners import Profile, load_profile, load_profile_as_of, load_profiles
from features.users import ensure_user
from recommender.questionnaires import Assessment

START = datetime(2025, 1, 1, tzinfo=UTC)
TRACKS = 70

DAYS = st.integers(0, 400)
PLAYS = st.lists(st.tuples(DAYS, st.integers(0, TRACKS - 1)), max_size=90, unique=True)
SAID = st.lists(
    st.tuples(DAYS, st.integers(0, TRACKS - 1), st.sampled_from(["like", "skip", "dislike"])),
    max_size=12,
)
ASSESSED = st.lists(st.tuples(DAYS, st.integers(0, 100)), max_size=3, unique_by=lambda a: a[0])
COUNTS = st.lists(st.tuples(DAYS, st.integers(0, 30)), max_size=25, unique_by=lambda c: c[1])


@pytest.fixture
def music(engine: sa.Engine) -> sa.Engine:
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, category,"
                " source, trainable) SELECT 't' || i, 'T', 'A', 'a' || i % 30, 'pop_anthems',"
                " 'test', true FROM generate_series(0, :n - 1) i"
            ),
            {"n": TRACKS},
        )
        connection.execute(
            sa.text(
                "INSERT INTO audio_features (track_id, energy, valence, source, trainable)"
                " SELECT track_id, random(), random(), 'test', true FROM tracks"
            )
        )
    return engine


def at(day: int) -> datetime:
    # An hour of its own for every day, so that no two rows of a listener tie.
    return START + timedelta(days=day, minutes=day)


def event(user_id: str, track: int, kind: str, when: datetime) -> Interaction:
    return Interaction(
        event_id=uuid.uuid4(),
        user_id=user_id,
        track_id=f"t{track}",
        feedback_type=kind,
        reward=1.0 if kind == "like" else -0.4,
        state=f"state{track % 3}",
        category="pop_anthems",
        recommendation_id=None,
        position=None,
        listen_duration_ms=None,
        track_duration_ms=None,
        context=None,
        occurred_at=when,
        received_at=when,
    )


def live(
    connection: sa.Connection,
    user_id: str,
    plays: list[tuple[int, int]],
    said: list[tuple[int, int, str]],
    assessed: list[tuple[int, int]],
    counts: list[tuple[int, int]],
) -> None:
    ensure_user(connection, user_id, source="test", now=START)
    for day, track in plays:
        connection.execute(
            sa.text("SELECT upsert_listening_history(:user, :track, :at, 1000, 'test')"),
            {"user": user_id, "track": f"t{track}", "at": at(day)},
        )
    q = QState(own={})
    for day, track, kind in sorted(said):
        interactions.append(connection, event(user_id, track, kind, at(day)), q)
    for day, openness in sorted(assessed):
        assessment = Assessment({"openness": float(openness)}, {"openness": 1.0})
        save_assessment(connection, user_id, assessment, method="test", now=at(day))
    for day, artist in counts:
        connection.execute(
            sa.text("INSERT INTO artist_plays VALUES (:user, 'A', :key, :n, 'test', true, :at)"),
            {"user": user_id, "key": f"a{artist}", "n": artist + 1, "at": at(day)},
        )


def facts(profile: Profile | None) -> dict[str, object]:
    assert profile is not None
    return msgspec.structs.asdict(profile) | {"user_id": ""}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plays=PLAYS, said=SAID, assessed=ASSESSED, counts=COUNTS, day=st.integers(1, 401))
def test_no_future_is_seen(
    music: sa.Engine,
    plays: list[tuple[int, int]],
    said: list[tuple[int, int, str]],
    assessed: list[tuple[int, int]],
    counts: list[tuple[int, int]],
    day: int,
) -> None:
    moment = at(day)
    name = uuid.uuid4().hex
    whole, past = f"{name}-whole", f"{name}-past"
    with music.connect() as connection:
        live(connection, whole, plays, said, assessed, counts)
        live(
            connection,
            past,
            [row for row in plays if row[0] < day],
            [row for row in said if row[0] < day],
            [row for row in assessed if row[0] < day],
            [row for row in counts if row[0] < day],
        )
        as_of = load_profile_as_of(connection, whole, moment)
        then = load_profile(connection, past, now=moment)
        assert facts(as_of) == facts(then)
        past_q = interactions.q_state(connection, past)
        # The draw of a replay depends on the listener's id, so fewer than ten events compare.
        if past_q.episode < 10:
            assert interactions.q_state_as_of(connection, whole, moment).table == past_q.table
        assert load_profile_as_of(connection, whole, START - timedelta(days=1)) is None


def test_now_and_as_of_now_are_the_same(music: sa.Engine) -> None:
    with music.connect() as connection:
        live(connection, "ada", [(3, 4), (5, 4), (9, 60)], [(10, 7, "like")], [(2, 80)], [(1, 3)])
        now = datetime.now(UTC)
        assert load_profile_as_of(connection, "ada", now) == load_profile(
            connection, "ada", now=now
        )
        q = interactions.q_state(connection, "ada")
        assert interactions.q_state_as_of(connection, "ada", now) == q


def test_a_listener_made_by_another_worker_a_moment_later_is_there(music: sa.Engine) -> None:
    """Two first calls at once: one makes the row, the clock of the other was read before."""
    midnight = datetime(2026, 1, 2, tzinfo=UTC)
    before = midnight - timedelta(milliseconds=5)
    with music.begin() as connection:
        ensure_user(connection, "newcomer", source="api", now=midnight)
        profile = load_profile(connection, "newcomer", now=before)
        assert profile is not None
        assert profile.account_age_days == 0
        assert load_profile_as_of(connection, "newcomer", before) is None


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives=st.lists(st.tuples(PLAYS, SAID, ASSESSED, COUNTS), min_size=2, max_size=3))
def test_many_at_once_are_what_each_is_alone(
    music: sa.Engine,
    lives: list[
        tuple[
            list[tuple[int, int]],
            list[tuple[int, int, str]],
            list[tuple[int, int]],
            list[tuple[int, int]],
        ]
    ],
) -> None:
    now = at(402)
    with music.begin() as connection:
        names = [uuid.uuid4().hex for _ in lives]
        for name, life in zip(names, lives, strict=True):
            live(connection, name, *life)
        together = load_profiles(connection, [*names, "nobody"], now=now)
        assert together == {name: load_profile(connection, name, now=now) for name in names}
        q = interactions.q_states(connection, names)
        assert q == {name: interactions.q_state(connection, name) for name in names}
        for name, (_, said, _, _) in zip(names, lives, strict=True):
            kept = interactions.q_state_as_of(connection, name, now)
            assert (kept.table, kept.own) == (q[name].table, q[name].own)
            assert q[name].episode == len(said)
        connection.rollback()
