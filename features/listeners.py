"""Listeners as the core sees them: read from Postgres, now or as of a moment, turned into arrays.

A `Profile` holds facts in plain types, so that it can be cached as MessagePack and shown to its
owner; `listener_of` turns it into what `recommender` judges with.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa

from features.prepared import Prepared, run
from recommender.audio import FEATURES, audio_rows
from recommender.cold_start import Stage, account_age_days, stage_of
from recommender.colisten import Listened
from recommender.genres import CATEGORY_SLUGS
from recommender.history import HALF_LIFE_DAYS, play_weight
from recommender.listener import Listener
from recommender.personality import TRAITS
from recommender.rewards import POSITIVE
from recommender.taste import ColistenIn
from recommender.tracks import Catalogue

HISTORY_ARTISTS = 50
LIKED_TRACKS = 50
SHOWN_DAYS = 30

_AUDIO = ", ".join(f"a.{f}" for f in FEATURES)


_HEARD = f"json_build_array(json_build_array({_AUDIO}), {{n}}, {{at}}, {{category}})"
"""A `Heard` as JSON, whose numbers are those that the columns print."""


def _query(
    *, top_tracks: str, personality: str, heard: str, plays: str, said: str, counts: str
) -> str:
    """Return the question behind a profile; `plays`, `said` and `counts` say which rows there are.

    One question: whatever else is asked costs a round trip and a plan.
    """
    of_track = _HEARD.format(n="a.play_count", at="a.played_at", category="a.category")
    of_liked = _HEARD.format(n="count(*)", at="max(i.occurred_at)", category="t.category")
    of_artist = _HEARD.format(n="p.n", at="NULL", category="a.category")
    return f"""
        WITH said AS (
            SELECT DISTINCT track_id, feedback_type FROM music_interactions
            WHERE user_id = :user_id AND {said}
        ), heard AS (
            {heard}
            UNION ALL
            SELECT DISTINCT track_id, 1 FROM said WHERE feedback_type = ANY(:positive)
        ), artists AS (
            SELECT artist_key, sum(n)::bigint AS n
            FROM (SELECT artist_key, n FROM tracks JOIN heard USING (track_id)
                  UNION ALL SELECT artist_key, play_count FROM artist_plays
                  WHERE user_id = :user_id AND {counts}) parts
            GROUP BY artist_key
        )
        SELECT
            u.created_at,
            (SELECT min(played_at) FROM plays
             WHERE user_id = u.user_id AND {plays}) AS first_played_at,
            (SELECT count(DISTINCT artist_key) FROM artist_plays
             WHERE user_id = u.user_id AND {counts}) AS undated_artists,
            ARRAY(SELECT DISTINCT track_id FROM heard ORDER BY 1) AS heard,
            ARRAY(SELECT artist_key FROM artists ORDER BY artist_key) AS artists,
            ARRAY(SELECT n FROM artists ORDER BY artist_key) AS plays,
            ARRAY(SELECT track_id FROM said WHERE feedback_type = 'dislike' ORDER BY 1)
                AS disliked,
            ARRAY(SELECT DISTINCT track_id FROM music_recommendations
                  WHERE :with_shown AND user_id = :user_id AND created_at < :now
                    AND created_at > :now - make_interval(days => :shown_days) ORDER BY 1)
                AS shown,
            {", ".join(f"p.{trait}" for trait in TRAITS)}, p.assessment_confidence,
            p.assessment_method,
            -- Plays and likes are among what was heard: without any there is nothing to look for.
            CAST(CASE WHEN EXISTS (SELECT FROM heard) THEN (
                SELECT json_agg({of_track}) FROM ({top_tracks}) a) END AS text) AS top_tracks,
            CAST(CASE WHEN EXISTS (SELECT FROM heard) THEN (
                SELECT json_agg(one) FROM (
                    SELECT {of_liked} AS one
                    FROM music_interactions i JOIN tracks t USING (track_id)
                    LEFT JOIN audio_features a USING (track_id)
                    WHERE i.user_id = :user_id AND i.feedback_type = ANY(:positive) AND {said}
                    GROUP BY i.track_id, t.category, {_AUDIO}
                    ORDER BY max(i.seq) DESC LIMIT {LIKED_TRACKS}) liked) END AS text) AS liked,
            -- Cut first: a join of all artists' sounds would be read for fifty of them.
            CAST((SELECT json_agg({of_artist} ORDER BY p.n DESC, p.artist_key)
                  FROM (SELECT artist_key, sum(play_count)::bigint AS n FROM artist_plays
                        WHERE user_id = :user_id AND {counts}
                        GROUP BY artist_key ORDER BY n DESC, artist_key LIMIT {HISTORY_ARTISTS}) p
                  LEFT JOIN artist_audio_features a USING (artist_key)) AS text) AS top_artists
        FROM users u LEFT JOIN ({personality}) p ON true WHERE u.user_id = :user_id
        """  # noqa: S608 - constants of this module


_NOW = Prepared(
    "listener_profile",
    _query(
        top_tracks="SELECT * FROM get_user_top_50_tracks(:user_id)",
        personality="SELECT * FROM get_active_personality_profile(:user_id)",
        heard="SELECT track_id, play_count AS n FROM listening_history WHERE user_id = :user_id",
        plays="true",
        said="true",
        counts="true",
    ),
    user_id="text",
    now="timestamptz",
    positive="text[]",
    with_shown="boolean",
    shown_days="integer",
)
"""From the aggregates, which hold everything up to now: what the service asks."""

_AS_OF = _query(
    # get_user_top_50_tracks with the plays before a moment in place of their aggregate.
    top_tracks=f"""
        SELECT p.play_count, p.played_at, t.category, {_AUDIO}
        FROM (SELECT track_id, count(*) AS play_count, max(played_at) AS played_at
              FROM plays WHERE user_id = :user_id AND played_at < :now GROUP BY track_id) p
        JOIN tracks t USING (track_id) LEFT JOIN audio_features a USING (track_id)
        ORDER BY ln(1 + p.play_count::float8)
                 * power(2, -extract(epoch FROM :now - p.played_at)
                            / 86400 / {HALF_LIFE_DAYS})::float8 DESC, p.track_id
        LIMIT 50
        """,  # noqa: S608 - constants
    personality=f"""
        SELECT {", ".join(TRAITS)}, assessment_confidence, assessment_method
        FROM personality_scores WHERE user_id = :user_id AND assessment_date < :now
        ORDER BY assessment_date DESC, id DESC LIMIT 1
        """,  # noqa: S608 - constants
    heard="""SELECT track_id, count(*) AS n FROM plays
             WHERE user_id = :user_id AND played_at < :now GROUP BY track_id""",
    plays="played_at < :now",
    said="received_at < :now",
    counts="imported_at < :now",
)
"""From what was known before a moment, row by row: what a trainer asks."""


_ONE = _NOW.text.replace(":user_id", "asked.user_id")
_EACH = sa.text(
    f"""
    SELECT asked.user_id AS asked_for, found.*
    FROM unnest(CAST(:user_ids AS text[])) AS asked (user_id), LATERAL ({_ONE}) AS found
    """  # noqa: S608 - constants of this module
)
"""The same as `_NOW`, of many listeners at once, for one after the other: what a night asks."""


class Heard(msgspec.Struct, array_like=True, frozen=True):
    """One entry of a history: a track, a liked track, or an artist's mean."""

    audio: tuple[float | None, ...]
    play_count: int
    played_at: datetime | None
    category: str | None


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about one listener at one moment."""

    user_id: str
    account_age_days: int
    stage: Stage
    traits: dict[str, float]
    confidence: float
    method: str
    history: list[Heard]
    heard_tracks: list[str]
    heard_artists: list[str]
    artist_plays: list[int]
    """Of the heard artists, in their order."""
    disliked_tracks: list[str]
    shown_tracks: list[str]


_history = msgspec.json.Decoder(list[Heard])
_HISTORIES = ("top_tracks", "liked", "top_artists")


def load_profile(
    connection: sa.Connection, user_id: str, *, now: datetime, with_shown: bool = False
) -> Profile | None:
    """Read a listener's profile; None for a listener who does not exist.

    Parameters
    ----------
    with_shown
        Whether the tracks of the last 30 days' lists are wanted.
    """
    asked = _asked(now, with_shown=with_shown) | {"user_id": user_id}
    facts = run(connection, (_NOW, asked)).mappings().one_or_none()
    return _profile(user_id, facts, now=now) if facts else None


def new_profile(user_id: str, *, now: datetime) -> Profile:
    """Return what `load_profile` reads of a listener whose first call is this."""
    nothing: dict[str, Any] = dict.fromkeys([*TRAITS, "assessment_method", *_HISTORIES])
    lists: dict[str, Any] = {name: [] for name in ("heard", "artists", "plays")}
    lists |= {"disliked": [], "shown": []}
    facts = {"created_at": now, "first_played_at": None, "undated_artists": 0}
    return _profile(user_id, nothing | lists | facts, now=now)


def load_profile_as_of(
    connection: sa.Connection, user_id: str, moment: datetime, *, with_shown: bool = False
) -> Profile | None:
    """Read the profile that the service would have read at a moment in the past.

    Only what was known before it takes part: plays that had begun, feedback that had come in,
    assessments and imported counts that were there. What a track sounds like and how popular it is
    has no history here: it is as it stands now.

    Returns
    -------
    None for a listener of whom nothing was known.
    """
    asked = _asked(moment, with_shown=with_shown) | {"user_id": user_id}
    facts = connection.execute(sa.text(_AS_OF), asked).mappings().one_or_none()
    if facts is None:
        return None
    if facts["created_at"] > moment and facts["first_played_at"] is None:
        return None
    return _profile(user_id, facts, now=moment)


def load_profiles(
    connection: sa.Connection,
    user_ids: Sequence[str],
    *,
    now: datetime,
    with_shown: bool = False,
) -> dict[str, Profile]:
    """Read what `load_profile` reads of each listener, in a few round trips for all of them."""
    asked = _asked(now, with_shown=with_shown) | {"user_ids": list(user_ids)}
    # Estimated for many listeners, a question looks worth compiling, which takes longer than it.
    connection.execute(sa.text("SET LOCAL jit = off"))
    return {
        facts["asked_for"]: _profile(facts["asked_for"], facts, now=now)
        for facts in connection.execute(_EACH, asked).mappings()
    }


def _asked(now: datetime, *, with_shown: bool) -> dict[str, Any]:
    return {
        "now": now,
        "positive": [kind.value for kind in POSITIVE],
        "with_shown": with_shown,
        "shown_days": SHOWN_DAYS,
    }


def _profile(user_id: str, facts: Mapping[Any, Any], *, now: datetime) -> Profile:
    created_at, first_played_at = facts["created_at"], facts["first_played_at"]
    if created_at > now and first_played_at is None:
        created_at = now  # another worker's first call of this listener came in a moment later
    is_assessed = facts["assessment_method"] is not None
    age = account_age_days(now, created_at, first_played_at)
    return Profile(
        user_id=user_id,
        account_age_days=age,
        stage=stage_of(
            age,
            has_dated_plays=first_played_at is not None,
            undated_artists=facts["undated_artists"],
        ),
        traits={t: facts[t] / 100 for t in TRAITS if facts[t] is not None},
        confidence=facts["assessment_confidence"] if is_assessed else 0.0,
        method=facts["assessment_method"] if is_assessed else "default",
        history=[one for name in _HISTORIES if facts[name] for one in _history.decode(facts[name])],
        heard_tracks=facts["heard"],
        heard_artists=facts["artists"],
        artist_plays=facts["plays"],
        disliked_tracks=facts["disliked"],
        shown_tracks=facts["shown"],
    )


_CATEGORY: Mapping[str | None, int] = {slug: code for code, slug in enumerate(CATEGORY_SLUGS)}


def listener_of(
    profile: Profile,
    catalogue: Catalogue,
    *,
    now: datetime,
    q_table: Mapping[str, float],
    colisten: ColistenIn | None = None,
    own_sums: Mapping[str, tuple[float, float]] | None = None,
) -> Listener:
    """Turn a profile into arrays over a catalogue; tracks and artists not in it drop out.

    `colisten`, joined to the same catalogue, gives the listener a taste; None: there is no model.

    Ages count to the start of `now`'s UTC day: a list asked for twice on a day is the same list.
    """
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    weights = [
        play_weight(h.play_count, (today - h.played_at).total_seconds() / 86_400)
        if h.played_at
        else play_weight(h.play_count, 0.0)
        for h in profile.history
    ]
    audio = audio_rows(np.array([h.audio for h in profile.history], dtype=np.float64))
    known = ~np.isnan(audio).all(axis=1)
    by_category: dict[int, float] = {}
    for heard, weight in zip(profile.history, weights, strict=True):
        code = _CATEGORY.get(heard.category)
        if code is not None:
            by_category[code] = by_category.get(code, 0.0) + weight
    total = sum(by_category.values())
    heard_artists = catalogue.artists_of(profile.heard_artists)
    return Listener(
        stage=profile.stage,
        traits=profile.traits,
        history_audio=audio[known],
        history_weight=np.array(weights, dtype=np.float64)[known],
        heard=catalogue.recordings_of(profile.heard_tracks),
        heard_artists=np.unique(heard_artists[heard_artists >= 0]),
        disliked=catalogue.recordings_of(profile.disliked_tracks),
        shown=catalogue.recordings_of(profile.shown_tracks),
        categories={code: weight / total for code, weight in by_category.items()},
        q_table=q_table,
        taste=None
        if colisten is None
        else colisten.taste(
            Listened(
                profile.heard_artists,
                np.array(profile.artist_plays, dtype=np.float64),
                profile.heard_tracks,
                audio[known],
            )
        ),
        own_sums=own_sums or {},
    )
