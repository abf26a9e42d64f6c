"""A world that nights learn from: tastes are circles of artists that no sound gives away.

Who likes an artist of a circle likes the others, and co-listening alone can find them. `change`
draws the circles anew: what was learned before is wrong from then on.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa

from recommender.audio import FEATURES

GENRES = (("dance-pop", "pop_anthems"), ("trap", "hype_beats"), ("hard-rock", "rock_legends"))
LIKES, LIKES_OTHERS = 0.8, 0.15
"""Chance that a track of one's circle is liked, and any other."""
TRACK_MS = 200_000


class NightsWorld:
    """Artists, listeners and what they play by themselves.

    Parameters
    ----------
    circles
        How many; listener n is of circle n modulo circles.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        listeners: int,
        artists: int,
        tracks_each: int,
        circles: int,
        start: datetime,
        seed: int = 3,
    ) -> None:
        self.engine, self.start, self.circles = engine, start, circles
        self.rng = np.random.default_rng(seed)
        self.users = [f"user{n:03}" for n in range(listeners)]
        self.artists = artists
        self.tracks = [f"track{a:03}-{t}" for a in range(artists) for t in range(tracks_each)]
        self.artist_of = np.repeat(np.arange(artists), tracks_each)
        self.change()

    def change(self) -> None:
        """Draw the circles anew."""
        self.circle_of = self.rng.permutation(np.arange(self.artists) % self.circles)

    def chance(self, user: int) -> np.ndarray:
        """Return how likely a listener is to like each track."""
        is_own = self.circle_of[self.artist_of] == user % self.circles
        return np.where(is_own, LIKES, LIKES_OTHERS)

    def plant(self, *, days: int = 60, plays: int = 30) -> None:
        """Write the catalogue, the listeners, and what they played in the days before."""
        rows: list[dict[str, Any]] = []
        for place, track in enumerate(self.tracks):
            artist = int(self.artist_of[place])
            genre, category = GENRES[artist % len(GENRES)]
            audio = dict(zip(FEATURES, self.rng.uniform(0.1, 0.9, 7).tolist(), strict=True))
            audio["tempo"] = 60 + 140 * audio["tempo"]
            named = {"id": track, "artist": f"artist{artist:03}", "genre": genre}
            rows.append(named | {"category": category} | audio)
        with self.engine.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, genres,"
                    " category, popularity, duration_ms, release_date, source, trainable)"
                    " VALUES (:id, :id, :artist, :artist, ARRAY[:genre], :category, 50, 200000,"
                    " '2020-01-01', 'planted', true)"
                ),
                rows,
            )
            connection.execute(
                sa.text(
                    f"INSERT INTO audio_features (track_id, {', '.join(FEATURES)}, source,"
                    f" trainable) VALUES (:id, :{', :'.join(FEATURES)}, 'planted', true)"
                ),
                rows,
            )
            connection.execute(
                sa.text(
                    "INSERT INTO users (user_id, created_at, source, simulated)"
                    " VALUES (:user, :at, 'planted', true)"
                ),
                [{"user": user, "at": self.start - timedelta(days=days)} for user in self.users],
            )
        offsets = self.rng.uniform(1.0, days, (len(self.users), plays))
        times = [[self.start - timedelta(days=x) for x in row] for row in offsets.tolist()]
        self._play(times, TRACK_MS - 20_000)

    def live(self, day: datetime, *, plays: int = 4, ms_played: int = TRACK_MS - 20_000) -> None:
        """Let everybody play some tracks in the 24 hours from `day` on."""
        hours = self.rng.uniform(0, 23.9, (len(self.users), plays))
        self._play([[day + timedelta(hours=x) for x in row] for row in hours.tolist()], ms_played)

    def _play(self, times: Sequence[Sequence[datetime]], ms_played: int) -> None:
        """Write plays at each listener's times, as having come in then."""
        users, tracks = [], []
        for user, row in enumerate(times):
            chance = self.chance(user) ** 2
            users += [self.users[user]] * len(row)
            drawn = self.rng.choice(len(self.tracks), len(row), p=chance / chance.sum())
            tracks += [self.tracks[place] for place in drawn]
        with self.engine.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO plays SELECT t.user_id, t.track, t.at, :ms, 'planted', true, t.at"
                    " FROM unnest(CAST(:users AS text[]), CAST(:tracks AS text[]),"
                    " CAST(:times AS timestamptz[])) AS t(user_id, track, at)"
                ),
                {
                    "ms": ms_played,
                    "users": users,
                    "tracks": tracks,
                    "times": [at for row in times for at in row],
                },
            )

    def judge(self, user: int, track_ids: Sequence[str]) -> np.ndarray:
        """Return which of these tracks a listener likes."""
        places = [self.tracks.index(track) for track in track_ids]
        liked: np.ndarray = self.rng.random(len(places)) < self.chance(user)[places]
        return liked

    def say(
        self,
        user: int,
        track_ids: Sequence[str],
        liked: Sequence[bool],
        at: datetime,
        *,
        recommendation_id: Any = None,
    ) -> None:
        """Write what a listener did with the tracks of a list: heard it for long, or skipped it."""
        with self.engine.begin() as connection:
            connection.execute(
                sa.text(
                    """
                    INSERT INTO music_interactions (event_id, user_id, episode, track_id,
                        feedback_type, reward, state, recommendation_id, position,
                        listen_duration_ms, track_duration_ms, occurred_at, received_at, source,
                        trainable)
                    SELECT md5(:user || t.track || CAST(:at AS text))::uuid, :user,
                        (SELECT coalesce(max(episode), 0) FROM music_interactions
                         WHERE user_id = :user) + t.place, t.track,
                        CASE WHEN t.liked THEN 'play' ELSE 'skip' END,
                        CASE WHEN t.liked THEN 0.8 ELSE -0.35 END,
                        'extraversion_none|openness_none|conscientiousness_none|agreeableness_none|'
                        || 'neuroticism_none|energy_med|valence_med|danceability_med|tempo_med|'
                        || 'genre_' || c.category,
                        CAST(:recommendation_id AS uuid), t.place,
                        CASE WHEN t.liked THEN 180000 ELSE 10000 END, 200000,
                        CAST(:at AS timestamptz) + t.place * interval '1 second',
                        CAST(:at AS timestamptz) + t.place * interval '1 second', 'api', true
                    FROM unnest(CAST(:tracks AS text[]), CAST(:liked AS bool[]))
                        WITH ORDINALITY AS t(track, liked, place)
                    JOIN tracks c ON c.track_id = t.track
                    """
                ),
                {
                    "user": self.users[user],
                    "tracks": list(track_ids),
                    "liked": [bool(one) for one in liked],
                    "at": at,
                    "recommendation_id": recommendation_id,
                },
            )
