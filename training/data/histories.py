"""Histories: what every listener played, as far as training may use it.

Rows that may not be used (`trainable` false: Spotify's Web API, a withheld consent) are left out
and counted by table and source; where nothing is left, training is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from recommender.cold_start import Stage, account_age_days, stage_of
from training.data.data_parts import Part, hash_of, part_of
from training.errors import NothingTrainableError

_PLAYS = sa.text(
    """
    SELECT p.user_id, p.track_id, t.artist_key, p.played_at, p.ms_played, p.source
    FROM plays p JOIN tracks t USING (track_id)
    WHERE p.trainable AND t.trainable
      AND (CAST(:users AS text[]) IS NULL OR p.user_id = ANY(:users))
      AND (CAST(:since AS timestamptz) IS NULL OR p.played_at >= :since)
      AND (CAST(:until AS timestamptz) IS NULL OR p.played_at < :until)
    ORDER BY p.user_id COLLATE "C", p.played_at, p.track_id COLLATE "C"
    """
)
_ARTIST_PLAYS = sa.text(
    """
    SELECT user_id, artist_key, play_count, source FROM artist_plays
    WHERE trainable AND (CAST(:until AS timestamptz) IS NULL OR imported_at < :until)
      AND (CAST(:users AS text[]) IS NULL OR user_id = ANY(:users))
    ORDER BY user_id COLLATE "C", artist_key COLLATE "C", source COLLATE "C"
    """
)
_TIMES = sa.text(
    """
    SELECT (SELECT max(p.played_at) FROM plays p JOIN tracks t USING (track_id)
            WHERE p.trainable AND t.trainable
              AND (CAST(:until AS timestamptz) IS NULL OR p.played_at < :until)),
           (SELECT max(imported_at) FROM artist_plays
            WHERE trainable AND (CAST(:until AS timestamptz) IS NULL OR imported_at < :until))
    """
)
_TRAITS = sa.text(
    """
    SELECT user_id, traits FROM personality_features
    WHERE CAST(:users AS text[]) IS NULL OR user_id = ANY(:users)
    """
)
_TABLES = ("plays", "artist_plays", "tracks", "audio_features", "artist_audio_features")
_REFUSED = sa.text(
    " UNION ALL ".join(
        f"SELECT '{table}', source, count(*) FROM {table} WHERE NOT trainable GROUP BY source"  # noqa: S608 - constants above
        for table in _TABLES
    )
)


class Play(NamedTuple):
    """One dated play."""

    track_id: str
    artist_key: str
    played_at: datetime


class ArtistCount(NamedTuple):
    """How often an artist was played, without dates."""

    artist_key: str
    play_count: int


@dataclass(frozen=True)
class History:
    """All that one listener played, dated plays in the order of time."""

    user_id: str
    plays: Sequence[Play]
    counts: Sequence[ArtistCount]
    traits: Mapping[str, float]


def stage_today(history: History, now: datetime) -> Stage:
    """Return the stage that a listener is in, as the service would say.

    Examples
    --------
    >>> counts = [ArtistCount(f"artist{n}", 1) for n in range(20)]
    >>> stage_today(History("ada", [], counts, {}), datetime(2026, 1, 1, tzinfo=UTC)).value
    'month_2_plus'
    """
    first = history.plays[0].played_at if history.plays else now
    return stage_of(
        account_age_days(now, first, None),
        has_dated_plays=bool(history.plays),
        undated_artists=len(history.counts),
    )


@dataclass(frozen=True)
class Histories:
    """What training may use, and what it left out.

    Attributes
    ----------
    listeners
        In the order of their ids' bytes.
    rows
        How many rows of plays and artist_plays they are made of.
    refused
        'table from source' -> rows left out because they may not be trained on.
    parts
        The rows' number and hash by table, sorted: the same rows give the same, however they came
        in.
    window
        The first and the last day of dated plays, 'undated' where there are none.
    until
        The least bound under which the same rows are read, whoever is asked for: what is played
        later is no part of them.
    """

    listeners: Sequence[History]
    rows: int
    refused: Mapping[str, int]
    parts: Mapping[str, Part]
    window: tuple[str, str]
    until: datetime

    @property
    def sha256(self) -> str:
        """Of all parts."""
        return hash_of(self.parts)


def read_histories(
    engine: sa.Engine,
    *,
    users: Sequence[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Histories:
    """Read the histories that may be trained on.

    Parameters
    ----------
    users
        Of these listeners; None: of everybody, which takes memory for every play there is.
    since, until
        Plays from then on and before then; undated counts that were imported before `until`.
        None: no bound.

    Raises
    ------
    NothingTrainableError
        There is none; the message counts what was refused, by table and source.
    """
    # One snapshot: an import that runs meanwhile is in all of the answers or in none.
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        of = None if users is None else list(users)
        asked = {"users": of, "since": since, "until": until}
        plays = connection.execute(_PLAYS, asked).all()
        counts = connection.execute(_ARTIST_PLAYS, {"users": of, "until": until}).all()
        times = connection.execute(_TIMES, {"until": until}).one()
        traits = {user: dict(values) for user, values in connection.execute(_TRAITS, {"users": of})}
        refused = {f"{table} from {source}": n for table, source, n in connection.execute(_REFUSED)}
    if not plays and not counts:
        raise NothingTrainableError(_nothing_left(refused, part=(since or until) is not None))
    played: dict[str, list[Play]] = {}
    for user, track_id, artist_key, played_at, _, _ in plays:
        played.setdefault(user, []).append(Play(track_id, artist_key, played_at))
    counted: dict[str, dict[str, int]] = {}
    for user, artist_key, count, _ in counts:
        of_user = counted.setdefault(user, {})
        of_user[artist_key] = of_user.get(artist_key, 0) + count
    users = sorted(played.keys() | counted.keys(), key=str.encode)
    return Histories(
        listeners=[
            History(
                user_id=user,
                plays=played.get(user, []),
                counts=[ArtistCount(*pair) for pair in counted.get(user, {}).items()],
                traits=traits.get(user, {}),
            )
            for user in users
        ],
        rows=len(plays) + len(counts),
        refused=dict(sorted(refused.items())),
        parts={
            "plays": part_of(plays),
            "artist_plays": part_of(counts),
            "personality_features": part_of(
                [(user, *sorted(traits[user].items())) for user in users if user in traits]
            ),
        },
        window=_window([row.played_at for row in plays]),
        until=max(time for time in times if time is not None) + timedelta(microseconds=1),
    )


def _window(times: Sequence[datetime]) -> tuple[str, str]:
    if not times:
        return "undated", "undated"
    days = min(times).astimezone(UTC).date(), max(times).astimezone(UTC).date()
    return days[0].isoformat(), days[1].isoformat()


def _nothing_left(refused: Mapping[str, int], *, part: bool) -> str:
    if not refused and part:
        return "nothing to train on: there are no plays in that time, widen or leave out its ends"
    if not refused:
        return "nothing to train on: there are no plays yet, import some first"
    parts = ", ".join(f"{n} {name}" for name, n in sorted(refused.items()))
    return (
        "nothing to train on: every play was refused as not trainable"
        f" ({parts}); import histories that may be used"
    )
