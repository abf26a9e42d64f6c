"""A simulated world for whoever has no data: tracks, listeners with personalities, and their plays.

Everything in it is invented and says so: source 'simulated', users.simulated, albums that end in
'(simulated)'. Only its figures are real (`world_figures`). Equal seed, sizes and clock, equal rows.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import sqlalchemy as sa

from features.imports import ALREADY_STORED, InputError, Report, append, one_at_a_time, record
from features.sources.names import name_key
from features.sources.world_figures import GENRES, TRAIT_RELIABILITY
from features.sources.world_listeners import Listeners, draw_listeners, draw_plays, utilities
from features.sources.world_music import Music, draw_music
from recommender.audio import FEATURES
from recommender.genres import categorise, normalise_genre
from recommender.personality import TRAITS

KIND = "world"
SOURCE = "simulated"
FEWEST_TRACKS, FEWEST_LISTENERS, MOST = 100, 3, 50_000

TRACK_COLUMNS = (
    "track_id", "track_name", "artist_name", "artist_key", "album_name", "release_date",
    "duration_ms", "explicit", "popularity", "genres", "category", "source", "trainable",
    "updated_at",
)  # fmt: skip
AUDIO_COLUMNS = ("track_id", *FEATURES, "source", "trainable", "updated_at")
USER_COLUMNS = ("user_id", "created_at", "source", "simulated")
SCORE_COLUMNS = (
    "user_id", *TRAITS, "assessment_confidence", "trait_confidence", "assessment_method",
    "assessment_date",
)  # fmt: skip
PLAY_COLUMNS = (
    "user_id", "track_id", "played_at", "arrived_at", "ms_played", "source", "trainable",
)  # fmt: skip


def build_world(
    engine: sa.Engine, *, seed: int = 7, tracks: int = 4000, listeners: int = 300, now: datetime
) -> Report:
    """Fill the tables with the simulated world of this seed and size; again, it changes nothing.

    Parameters
    ----------
    seed
        Music, listeners and each listener's plays have generators of their own from it.
    now
        When the world's last year ends.

    Raises
    ------
    InputError
        Too small or too large, or another simulated world stands in these tables.
    """
    if not (FEWEST_TRACKS <= tracks <= MOST and FEWEST_LISTENERS <= listeners <= MOST):
        raise InputError(
            f"a world of {tracks} tracks and {listeners} listeners cannot be made: ask for"
            f" {FEWEST_TRACKS} to {MOST} tracks and {FEWEST_LISTENERS} to {MOST} listeners"
        )
    name = f"seed {seed}, {tracks} tracks, {listeners} listeners"
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    with one_at_a_time(engine) as connection:
        known = _standing(connection)
        if known and known[0] != sha256:
            raise InputError(
                "another simulated world stands in these tables: use its seed and sizes, or an"
                " empty database"
            )
        if not known and holds_imported_tracks(connection):
            raise InputError(
                "imported tracks stand in these tables, and an invented world is not mixed with"
                " them: use an empty database (another BONDHU_HOME or DATABASE_URL)"
            )
        if known:
            report = Report(KIND, known[1], 0, {ALREADY_STORED: known[1]}, (name,))
        else:
            stored = _store(connection, seed, tracks, listeners, now)
            report = Report(KIND, stored, stored, {}, (name, "everything in it is simulated"))
        record(connection, report, sha256=sha256, now=now)
    return report


def holds_imported_tracks(connection: sa.Connection) -> bool:
    """Return whether there are tracks that were not invented."""
    found = sa.text("SELECT EXISTS (SELECT FROM tracks WHERE source <> :simulated)")
    return bool(connection.scalar(found, {"simulated": SOURCE}))


def remove_world(engine: sa.Engine) -> int:
    """Make room for real data: remove what was invented, and the listeners who lived in it.

    Returns
    -------
    How many tracks went.
    """
    with one_at_a_time(engine) as connection:
        if _standing(connection) is None:
            return 0
        for statement in _REMOVALS:
            gone = connection.execute(sa.text(statement), {"simulated": SOURCE, "kind": KIND})
    return gone.rowcount


_REMOVALS = (
    # Who judged invented songs is no real listener; their rows everywhere go with them.
    """
    DELETE FROM users WHERE simulated OR user_id IN (
        SELECT user_id FROM music_interactions JOIN tracks t USING (track_id)
        WHERE t.source = :simulated
        UNION SELECT user_id FROM plays JOIN tracks t USING (track_id) WHERE t.source = :simulated)
    """,
    """
    DELETE FROM music_recommendations r USING tracks t
    WHERE t.track_id = r.track_id AND t.source = :simulated
    """,
    "UPDATE recommendations_cache SET is_valid = false WHERE is_valid",
    """
    DELETE FROM artist_audio_features WHERE artist_key IN
        (SELECT artist_key FROM tracks WHERE source = :simulated)
    """,
    "DELETE FROM imports WHERE kind = :kind",
    "DELETE FROM tracks WHERE source = :simulated",
)


def _standing(connection: sa.Connection) -> tuple[str, int] | None:
    row = connection.execute(
        sa.text("SELECT sha256, read FROM imports WHERE kind = :kind ORDER BY import_id LIMIT 1"),
        {"kind": KIND},
    ).one_or_none()
    return (row.sha256, row.read) if row else None


def _store(connection: sa.Connection, seed: int, tracks: int, listeners: int, now: datetime) -> int:
    music = draw_music(np.random.default_rng([seed, 1]), tracks)
    people = draw_listeners(np.random.default_rng([seed, 2]), listeners)
    stored = append(connection, "tracks", TRACK_COLUMNS, _track_rows(music, now))
    append(connection, "audio_features", AUDIO_COLUMNS, _audio_rows(music, now))
    stored += append(connection, "users", USER_COLUMNS, _user_rows(people, now))
    stored += append(connection, "personality_scores", SCORE_COLUMNS, _score_rows(people, now))
    return stored + append(connection, "plays", PLAY_COLUMNS, _play_rows(seed, music, people, now))


def _track_id(track: int) -> str:
    return f"sim-track-{track + 1:04d}"


def _user_id(listener: int) -> str:
    return f"sim-{listener + 1:03d}"


def _joined(listeners: Listeners, listener: int, now: datetime) -> datetime:
    return now - timedelta(milliseconds=int(listeners.age_days[listener] * 86_400_000))


def _track_rows(music: Music, now: datetime) -> Iterator[tuple[object, ...]]:
    genres = [[normalise_genre(name), normalise_genre(g.parent)] for name, g in GENRES.items()]
    categories = [categorise(names) for names in genres]
    for i in range(len(music)):
        artist, genre = f"{music.artists[music.artist[i]]} (simulated)", music.genre[i]
        released = (now - timedelta(days=int(music.age_days[i]))).date()
        yield (
            _track_id(i), music.titles[i], artist, name_key(artist),
            f"{music.titles[i]} (simulated)", released, music.duration_ms[i], False,
            music.popularity[i], genres[genre], categories[genre], SOURCE, True, now,
        )  # fmt: skip


def _audio_rows(music: Music, now: datetime) -> Iterator[tuple[object, ...]]:
    for i, row in enumerate(music.audio.tolist()):
        yield (_track_id(i), *row, SOURCE, True, now)


def _user_rows(listeners: Listeners, now: datetime) -> Iterator[tuple[object, ...]]:
    for i in range(len(listeners.scores)):
        yield _user_id(i), _joined(listeners, i, now), SOURCE, True


def _score_rows(listeners: Listeners, now: datetime) -> Iterator[tuple[object, ...]]:
    confidence = dict(zip(TRAITS, TRAIT_RELIABILITY, strict=True))
    overall = round(sum(TRAIT_RELIABILITY) / len(TRAITS), 4)
    for i, scores in enumerate(listeners.scores.tolist()):
        yield _user_id(i), *scores, overall, confidence, SOURCE, _joined(listeners, i, now)


def _play_rows(
    seed: int, music: Music, listeners: Listeners, now: datetime
) -> Iterator[tuple[object, ...]]:
    ids = [_track_id(i) for i in range(len(music))]
    for i, age in enumerate(listeners.age_days.tolist()):
        if i % 30 == 0:
            continue  # has only just joined
        rng = np.random.default_rng([seed, 3, i])
        plays = draw_plays(rng, music, utilities(music, listeners, i), age)
        joined = np.datetime64(_joined(listeners, i, now).astimezone(UTC).replace(tzinfo=None))
        times = np.datetime_as_string(joined + plays.start_ms.astype("timedelta64[ms]"), unit="ms")
        user_id = _user_id(i)
        for track, time, ms in zip(plays.track, times, plays.ms_played, strict=True):
            at = f"{time}Z"  # it came in on its day
            yield user_id, ids[track], at, at, ms, SOURCE, True
