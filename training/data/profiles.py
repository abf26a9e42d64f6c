"""Profiles of many listeners from what training read at once, as `features.listeners` reads one.

The same `Profile` then goes through the same `listener_of` as in the service; a test holds the two
readers together.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from features.listeners import HISTORY_ARTISTS, Heard, Profile
from recommender.audio import FEATURES
from recommender.cold_start import Stage
from recommender.history import play_weight
from training.data.histories import ArtistCount, History, Play

HISTORY_TRACKS = 50
"""As many as get_user_top_50_tracks returns."""

_COLUMNS = ", ".join(f"a.{feature}" for feature in FEATURES)
_TRACKS = sa.text(
    f"""
    SELECT track_id, t.category, {_COLUMNS}
    FROM tracks t LEFT JOIN audio_features a USING (track_id)
    WHERE t.trainable AND coalesce(a.trainable, true) AND EXISTS (
        SELECT FROM plays p WHERE p.track_id = t.track_id AND p.trainable)
    """  # noqa: S608 - the names are constants of recommender.audio
)
_ARTISTS = sa.text(
    f"""
    SELECT artist_key, a.category, {_COLUMNS} FROM artist_audio_features a
    WHERE a.trainable AND EXISTS (
        SELECT FROM artist_plays p WHERE p.artist_key = a.artist_key AND p.trainable)
    """  # noqa: S608 - the names are constants of recommender.audio
)

Sound = tuple[str | None, tuple[float | None, ...]]
"""A category and raw audio features, tempo in BPM."""
UNKNOWN: Sound = (None, (None,) * len(FEATURES))


@dataclass(frozen=True)
class Facts:
    """How everything that was played sounds, by track id and by artist key."""

    tracks: Mapping[str, Sound]
    artists: Mapping[str, Sound]


def read_facts(engine: sa.Engine) -> Facts:
    """Read what the histories' tracks and artists sound like, as far as it may be used."""
    with engine.connect() as connection:
        tracks, artists = (
            {key: (category, tuple(audio)) for key, category, *audio in connection.execute(query)}
            for query in (_TRACKS, _ARTISTS)
        )
    return Facts(tracks, artists)


def profile_of(
    history: History,
    plays: Sequence[Play],
    counts: Sequence[ArtistCount],
    *,
    stage: Stage,
    facts: Facts,
    as_of: datetime,
) -> Profile:
    """Return the profile of a listener who has played only this.

    The history is the 50 tracks of the largest `play_weight` at `as_of`, then the 50 artists of
    the largest undated counts.
    """
    per_track: dict[str, Heard] = {}
    for play in plays:  # in the order of time: the last one stays
        category, audio = facts.tracks.get(play.track_id, UNKNOWN)
        before = per_track.get(play.track_id)
        count = 1 + (before.play_count if before else 0)
        per_track[play.track_id] = Heard(audio, count, play.played_at, category)
    played = Counter(play.artist_key for play in plays)
    played.update({count.artist_key: count.play_count for count in counts})
    by_artist = dict(sorted(played.items()))
    tracks = sorted(per_track, key=lambda track: (-_weight(per_track[track], as_of), track))
    artists = sorted(counts, key=lambda count: (-count.play_count, count.artist_key))
    heard = [per_track[track] for track in tracks[:HISTORY_TRACKS]]
    for artist in artists[:HISTORY_ARTISTS]:
        category, audio = facts.artists.get(artist.artist_key, UNKNOWN)
        heard.append(Heard(audio, artist.play_count, None, category))
    return Profile(
        user_id=history.user_id,
        account_age_days=0,
        stage=stage,
        traits=dict(history.traits),
        confidence=0.0,
        method="history",
        history=heard,
        heard_tracks=list(per_track),
        heard_artists=list(by_artist),
        artist_plays=list(by_artist.values()),
        disliked_tracks=[],
        shown_tracks=[],
    )


def _weight(heard: Heard, as_of: datetime) -> float:
    if heard.played_at is None:
        return play_weight(heard.play_count, 0.0)
    return play_weight(heard.play_count, (as_of - heard.played_at).total_seconds() / 86_400)
