"""The feature build: what the tables say, worked out once for everyone who reads it.

History from plays, genres per listener, popular tracks, an artist's audio from the artist's tracks,
ideals and weights from assessments. Every step looks only at what feature_changes names, and is
committed by itself: a build that was killed is continued by the next, a second build has nothing
to do.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from features.bulk import make_room
from features.derived import artists, changes, counts, listening, personality, recordings
from features.imports import one_at_a_time

LISTENERS_PER_BATCH, PAIRS_PER_BATCH = 5_000, 250_000
"""How much is worked out between two commits: of personality, and of listening history."""

Progress = Callable[[str, float], None]
"""Told the name of the step in hand, and the share of it that is done."""


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
    engine: sa.Engine,
    *,
    now: datetime,
    progress: Progress | None = None,
    pairs_per_batch: int = PAIRS_PER_BATCH,
) -> Build:
    """Bring every derived table up to date.

    A row of feature_builds is added when something changed since the last one: a derived row, a
    track, an import that stored rows, or one of the three counts.

    Parameters
    ----------
    now
        Written to updated_at of what changed and to built_at.
    progress
        Told of each step as it goes on.
    pairs_per_batch
        How many pairs of listener and track are worked out in one transaction.
    """
    say = progress or (lambda *_: None)
    say("recordings and artists", 0.0)
    with _step(engine) as step:
        renewed, averaged = _tracks(step.connection, now)
        step.changed = renewed + averaged
    say("personality", 0.0)
    people = 0
    while True:
        with _step(engine) as step:
            step.changed = personality.refresh(step.connection, now=now, most=LISTENERS_PER_BATCH)
        people += step.changed
        if step.changed < LISTENERS_PER_BATCH:
            break
        say(f"personality of {people} listeners", 0.0)
    say("listening history", 0.0)
    with _step(engine) as step:
        history = step.changed = listening.begin(step.connection, now=now)
    history += _history(engine, now, pairs_per_batch, say)
    say("genres of listeners, popular tracks", 0.0)
    with _step(engine) as step:
        recounted = counts.refresh(step.connection)
        step.changed = counts.refresh_undated(step.connection) + recounted
    with one_at_a_time(engine) as connection:
        tracks, artist_total, listeners = connection.execute(_COUNTS).one()
        values = {"now": now, "tracks": tracks, "artists": artist_total, "listeners": listeners}
        values["changed"] = changes.take_all(connection, "build") > 0
        new_id = connection.scalar(_NEW_BUILD, values)
        build_id = new_id or connection.scalar(sa.text("SELECT max(build_id) FROM feature_builds"))
    say("done", 1.0)
    return Build(
        history,
        renewed,
        averaged,
        people,
        tracks,
        artist_total,
        listeners,
        build_id,
        new_id is not None,
    )


@dataclass
class _Step:
    """One transaction of a build; what it changed is remembered until the build has its number."""

    connection: sa.Connection
    changed: int = 0


@contextmanager
def _step(engine: sa.Engine) -> Iterator[_Step]:
    with one_at_a_time(engine) as connection:
        step = _Step(connection)
        yield step
        if step.changed:
            changes.note(connection, "build")


def _tracks(connection: sa.Connection, now: datetime) -> tuple[int, int]:
    """Refresh what hangs on tracks; returns changed recordings and artists."""
    make_room(connection)
    tracks, every_track = changes.waiting(connection, "tracks")
    audio, every_audio = changes.waiting(connection, "audio")
    if tracks + audio == 0:
        return 0, 0
    columns = "track_id, isrc, artist_key, title_key"
    everything = every_track or every_audio
    if everything:
        # What was known of the table when it was small would have its own rows compared two by two.
        connection.execute(sa.text("ANALYZE tracks"))
    changes.take(connection, "audio", columns, "sounding", most=audio)
    changes.take(connection, "tracks", columns, "changed", most=tracks)
    renewed = recordings.refresh(connection, everything=every_track) if tracks else 0
    listening.note_renamed(connection, everything=every_track)
    connection.execute(sa.text("INSERT INTO changed SELECT * FROM sounding"))
    averaged = artists.refresh(connection, everything=everything, now=now)
    if tracks:
        changes.note(connection, "ranks")
    changes.note(connection, "build")
    return renewed, averaged


def _history(engine: sa.Engine, now: datetime, most: int, say: Progress) -> int:
    history = done = 0
    while True:
        with _step(engine) as step:
            kinds = ("listener", "plays", "added")
            waiting = sum(changes.waiting(step.connection, kind)[0] for kind in kinds)
            if not waiting:
                return history
            taken, step.changed = listening.refresh(step.connection, now=now, most=most)
        history += step.changed
        done += taken
        total = max(done, done + waiting - taken)
        say(f"listening history: {done:,} of {total:,} changes", done / total)


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
          AND NOT EXISTS (SELECT FROM imports WHERE stored > 0 AND imported_at > last.built_at))
    RETURNING build_id
    """
)
