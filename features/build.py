"""The feature build: what the tables say, worked out once for everyone who reads it.

History from plays, an artist's audio from the artist's tracks, ideals and weights from assessments.
Every step writes only what changed, all in one transaction: a second build has nothing to do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from features.assessments import save_personality_features
from features.imports import one_at_a_time
from recommender.audio import FEATURES
from recommender.personality import TRAITS


@dataclass(frozen=True)
class Build:
    """What a build did.

    Attributes
    ----------
    history, recordings, artists, personality
        Rows of listening_history, tracks (their recording), artist_audio_features and
        personality_features that were changed.
    tracks, artist_total, listeners
        How many there are.
    build_id
        The build that stands now: a new one only if `is_new`.
    """

    history: int
    recordings: int
    artists: int
    personality: int
    tracks: int
    artist_total: int
    listeners: int
    build_id: int
    is_new: bool

    def __str__(self) -> str:
        """Return one line.

        Examples
        --------
        >>> str(Build(0, 0, 0, 0, 9, 4, 2, build_id=3, is_new=False))
        'nothing changed since build 3: 9 tracks, 4 artists, 2 listeners'
        """
        counts = f"{self.tracks} tracks, {self.artist_total} artists, {self.listeners} listeners"
        if not self.is_new:
            return f"nothing changed since build {self.build_id}: {counts}"
        return (
            f"build {self.build_id}: {counts} (changed: {self.history} of listening_history,"
            f" {self.recordings} tracks' recording,"
            f" {self.artists} of artist_audio_features, {self.personality} of personality_features)"
        )


def build_features(
    engine: sa.Engine, *, now: datetime, progress: Callable[[str], None] | None = None
) -> Build:
    """Bring every derived table up to date.

    A row of feature_builds is added when something changed since the last one: a derived row, a
    track, an import that stored rows, or one of the three counts.

    Parameters
    ----------
    now
        Written to updated_at of what changed and to built_at.
    progress
        Called with the name of each step as it begins.
    """
    say = progress or (lambda _: None)
    with one_at_a_time(engine) as connection:
        say("one recording under many ids")
        recordings = connection.execute(_RECORDINGS).rowcount
        say("artists' audio from their tracks")
        artists = connection.execute(_ARTISTS, {"now": now}).rowcount
        say("personality features")
        personality = _personality(connection, now)
        say("listening history from plays")
        # Last, so that the lock is short: feedback that adds a play waits for the end of this build
        # instead of having its newer aggregate overwritten.
        connection.execute(sa.text("LOCK TABLE listening_history IN SHARE ROW EXCLUSIVE MODE"))
        history = connection.execute(_HISTORY_GONE).rowcount
        history += connection.execute(_HISTORY, {"now": now}).rowcount
        tracks, artist_total, listeners = connection.execute(_COUNTS).one()
        values = {"now": now, "tracks": tracks, "artists": artist_total, "listeners": listeners}
        values["changed"] = history + recordings + artists + personality > 0
        new_id = connection.scalar(_NEW_BUILD, values)
        build_id = new_id or connection.scalar(sa.text("SELECT max(build_id) FROM feature_builds"))
    return Build(
        history,
        recordings,
        artists,
        personality,
        tracks,
        artist_total,
        listeners,
        build_id,
        new_id is not None,
    )


def _personality(connection: sa.Connection, now: datetime) -> int:
    changed = connection.execute(_PERSONALITY_GONE).rowcount
    for row in connection.execute(_ASSESSED).mappings().all():
        scores = {trait: row[trait] for trait in TRAITS if row[trait] is not None}
        save_personality_features(connection, row["user_id"], row["id"], scores, now=now)
        changed += 1
    return changed


# One recording: the same ISRC, or else the same artist and title in a run of durations in which no
# neighbours lie more than 2 s apart. Its canonical track is the most popular, then the first by id.
_RECORDINGS = sa.text(
    """
    WITH keyed AS (
        SELECT track_id, popularity, duration_ms,
               CASE WHEN isrc IS NOT NULL THEN 'isrc ' || isrc
                    ELSE artist_key || ' ' || title_key END AS name,
               isrc IS NULL AND duration_ms IS NULL AS is_alone
        FROM tracks WHERE isrc IS NOT NULL OR title_key IS NOT NULL
    ), steps AS (
        SELECT *, CASE WHEN name LIKE 'isrc %' THEN 0
                       WHEN is_alone THEN 1
                       ELSE (duration_ms - lag(duration_ms) OVER by_name > 2000)::int END AS is_new
        FROM keyed WINDOW by_name AS (PARTITION BY name, is_alone ORDER BY duration_ms, track_id)
    ), runs AS (
        SELECT *, sum(coalesce(is_new, 0)) OVER (PARTITION BY name, is_alone
                                                 ORDER BY duration_ms, track_id) AS run
        FROM steps
    ), chosen AS (
        SELECT track_id, first_value(track_id) OVER (
            PARTITION BY name, is_alone, run
            ORDER BY popularity DESC NULLS LAST, track_id COLLATE "C") AS canonical_id
        FROM runs
    )
    UPDATE tracks t SET canonical_id = nullif(c.canonical_id, t.track_id)
    FROM chosen c
    WHERE c.track_id = t.track_id
      AND t.canonical_id IS DISTINCT FROM nullif(c.canonical_id, t.track_id)
    """
)

_MEANS = ", ".join(
    f"avg(a.{feature} ORDER BY t.track_id)::real AS {feature}" for feature in FEATURES
)
_VALUES = (
    "artist_name", *FEATURES, "popularity", "category", "track_count", "source", "trainable"
)  # fmt: skip

# The mean over the artist's tracks that have audio features; the most common spelling and category.
# The order within the means keeps their last bit from changing between two builds.
_ARTISTS = sa.text(
    f"""
    INSERT INTO artist_audio_features AS m (artist_key, {", ".join(_VALUES)}, updated_at)
    SELECT t.artist_key, mode() WITHIN GROUP (ORDER BY t.artist_name), {_MEANS},
           avg(t.popularity)::real, mode() WITHIN GROUP (ORDER BY t.category), count(*), 'tracks',
           bool_and(t.trainable AND a.trainable), CAST(:now AS timestamptz)
    FROM tracks t JOIN audio_features a USING (track_id)
    GROUP BY t.artist_key
    ON CONFLICT (artist_key) DO UPDATE
    SET {", ".join(f"{name} = excluded.{name}" for name in (*_VALUES, "updated_at"))}
    WHERE ({", ".join(f"m.{name}" for name in _VALUES)})
        IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _VALUES)})
    """  # noqa: S608 - the names are constants of recommender.audio
)

_HISTORY_GONE = sa.text(
    """
    DELETE FROM listening_history h WHERE NOT EXISTS
        (SELECT FROM plays p WHERE p.user_id = h.user_id AND p.track_id = h.track_id)
    """
)
_HISTORY = sa.text(
    """
    INSERT INTO listening_history AS h (user_id, track_id, track_name, artist_name, played_at,
                                        play_count, total_listen_time_ms, updated_at)
    SELECT p.user_id, p.track_id, t.track_name, t.artist_name, p.played_at, p.n, p.ms,
           CAST(:now AS timestamptz)
    FROM (SELECT user_id, track_id, max(played_at) AS played_at, count(*) AS n,
                 sum(ms_played) AS ms
          FROM plays GROUP BY user_id, track_id) p
    JOIN tracks t USING (track_id)
    ON CONFLICT (user_id, track_id) DO UPDATE SET
        track_name = excluded.track_name, artist_name = excluded.artist_name,
        played_at = excluded.played_at, play_count = excluded.play_count,
        total_listen_time_ms = excluded.total_listen_time_ms, updated_at = excluded.updated_at
    WHERE (h.track_name, h.artist_name, h.played_at, h.play_count, h.total_listen_time_ms)
        IS DISTINCT FROM (excluded.track_name, excluded.artist_name, excluded.played_at,
                          excluded.play_count, excluded.total_listen_time_ms)
    """
)

_PERSONALITY_GONE = sa.text(
    """
    DELETE FROM personality_features f WHERE NOT EXISTS
        (SELECT FROM personality_scores s WHERE s.user_id = f.user_id AND s.is_active)
    """
)
_ASSESSED = sa.text(
    f"""
    SELECT s.user_id, s.id, {", ".join(f"s.{trait}" for trait in TRAITS)}
    FROM personality_scores s LEFT JOIN personality_features f USING (user_id)
    WHERE s.is_active AND f.assessment_id IS DISTINCT FROM s.id
    ORDER BY s.user_id
    """  # noqa: S608 - the names are constants of recommender.personality
)

_COUNTS = sa.text(
    """
    SELECT (SELECT count(*) FROM tracks), (SELECT count(*) FROM artist_audio_features),
           (SELECT count(*) FROM users)
    """
)
_NEW_BUILD = sa.text(
    """
    WITH last AS (SELECT * FROM feature_builds ORDER BY build_id DESC LIMIT 1)
    INSERT INTO feature_builds (built_at, tracks, artists, listeners)
    SELECT :now, :tracks, :artists, :listeners
    WHERE :changed OR NOT EXISTS (
        SELECT FROM last
        WHERE (last.tracks, last.artists, last.listeners) = (:tracks, :artists, :listeners)
          AND NOT EXISTS (SELECT FROM imports WHERE stored > 0 AND imported_at > last.built_at)
          AND NOT EXISTS (SELECT FROM tracks WHERE updated_at > last.built_at)
          AND NOT EXISTS (SELECT FROM audio_features WHERE updated_at > last.built_at))
    RETURNING build_id
    """
)
