"""Listening: what co-listening is fitted to, added up by Postgres for a sample of listeners.

One row comes per listener and track, however often it was played, and none is kept: a listener is
two small collections, whose texts all listeners share.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from training.data.data_parts import ContentHash, Part
from training.data.drawing import BLOCK
from training.data.histories import History

_TRACKS = sa.text(
    """
    SELECT p.user_id, p.track_id, t.artist_key, count(*)
    FROM plays p JOIN tracks t USING (track_id)
    WHERE p.trainable AND t.trainable AND p.user_id = ANY(:users)
      AND (CAST(:until AS timestamptz) IS NULL OR p.played_at < :until)
    GROUP BY p.user_id, p.track_id, t.artist_key
    ORDER BY p.user_id COLLATE "C", p.track_id COLLATE "C"
    """
)
_ARTISTS = sa.text(
    """
    SELECT user_id, artist_key, sum(play_count)::bigint FROM artist_plays
    WHERE trainable AND user_id = ANY(:users)
      AND (CAST(:until AS timestamptz) IS NULL OR imported_at < :until)
    GROUP BY user_id, artist_key
    ORDER BY user_id COLLATE "C", artist_key COLLATE "C"
    """
)

Counts = Mapping[str, float]
"""Item -> how often it was played, > 0."""


@dataclass(frozen=True)
class Listening:
    """One history in the words of its sources.

    Attributes
    ----------
    artists
        Artist key -> plays.
    tracks
        Track ids.
    """

    artists: Counts
    tracks: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class Listened:
    """What some listeners played, in the order of their ids' bytes.

    Attributes
    ----------
    parts
        The rows' number and hash by table: a row of plays is a listener's track and its count.
    """

    listenings: Sequence[Listening]
    parts: Mapping[str, Part]


def listening_of(history: History) -> Listening:
    """Return all that a listener played: plays per artist, dated or not, and tracks.

    Examples
    --------
    >>> from training.data.histories import ArtistCount
    >>> counts = [ArtistCount("abba", 3), ArtistCount("blur", 1)]
    >>> listening_of(History("ada", [], counts, {})).artists
    {'abba': 3.0, 'blur': 1.0}
    """
    artists: dict[str, float] = {}
    for play in history.plays:
        artists[play.artist_key] = artists.get(play.artist_key, 0.0) + 1.0
    for count in history.counts:
        artists[count.artist_key] = artists.get(count.artist_key, 0.0) + count.play_count
    return Listening(artists, tuple(dict.fromkeys(play.track_id for play in history.plays)))


def read_listening(
    engine: sa.Engine, users: Sequence[str], *, until: datetime | None = None
) -> Listened:
    """Read what these listeners played, as far as it may be trained on.

    Parameters
    ----------
    until
        See `training.data.histories.read_histories`.
    """
    artists: dict[str, dict[str, float]] = {}
    tracks: dict[str, list[str]] = {}
    shared: dict[str, str] = {}

    def once(text: str) -> str:
        return shared.setdefault(text, text)

    asked = {"users": list(users), "until": until}
    # One snapshot: an import that runs meanwhile is in both answers or in none.
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        plays, counts = _Counted(), _Counted()
        for user, track, artist, n in plays.pass_on(connection, _TRACKS, asked):
            tracks.setdefault(user, []).append(once(track))
            of_user = artists.setdefault(user, {})
            of_user[once(artist)] = of_user.get(artist, 0.0) + n
        for user, artist, n in counts.pass_on(connection, _ARTISTS, asked):
            of_user = artists.setdefault(user, {})
            of_user[once(artist)] = of_user.get(artist, 0.0) + n
    return Listened(
        [
            Listening(artists[user], tuple(tracks.get(user, ())))
            for user in sorted(artists, key=str.encode)
        ],
        {"plays": plays.part, "artist_plays": counts.part},
    )


class _Counted:
    """Rows on their way, counted and hashed."""

    def __init__(self) -> None:
        self._rows, self._hash = 0, ContentHash()

    def pass_on(
        self, connection: sa.Connection, query: sa.TextClause, asked: Mapping[str, object]
    ) -> Iterator[sa.Row]:  # type: ignore[type-arg]
        for row in connection.execution_options(yield_per=BLOCK).execute(query, asked):
            self._rows += 1
            self._hash.add(row)
            yield row

    @property
    def part(self) -> Part:
        return Part(self._rows, self._hash.hexdigest())
