"""Impressions: what listeners were shown, at which place and with which chance, and what followed.

A row is one position of a list as of the moment it was shown. Its components are those that were
logged with it, never computed anew; its stage is what was known then; its outcome is the feedback
that names the list and came in during `OUTCOME_DAYS` after it. Lists that have not had that time
before `until` are left out, so that the same window read later gives the same rows.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.cold_start import Stage, account_age_days, stage_of
from recommender.components import KEYS
from recommender.tracks import IndexArray
from training.data.data_parts import ContentHash, Part

OUTCOME_DAYS = 2
"""A list is served for one day; what is said of it later is not counted."""
FEWEST_LISTENERS = 50
"""From so many listeners on who liked something of what they were shown, impressions are learned
from; below, histories alone."""
BLOCK = 20_000
STAGES: tuple[Stage, ...] = tuple(Stage)

_COMPONENTS = ", ".join(f"coalesce((r.components ->> '{key}')::float8, 0)" for key in KEYS)
# What a listener played is in the components: where a part of it may not be used, none of them may.
_ROWS = sa.text(
    f"""
    WITH closed AS (
        SELECT user_id, min(kind) AS kind FROM (
            SELECT user_id, 'plays from ' || source AS kind FROM plays WHERE NOT trainable
            UNION ALL
            SELECT user_id, 'artist_plays from ' || source FROM artist_plays WHERE NOT trainable
        ) parts GROUP BY user_id
    ), shown AS (
        SELECT * FROM music_recommendations
        WHERE (CAST(:since AS timestamptz) IS NULL OR created_at >= :since)
          AND created_at <= CAST(:until AS timestamptz) - make_interval(days => :days)
    ), lists AS (
        SELECT s.recommendation_id, u.created_at AS joined,
               (SELECT min(p.played_at) FROM plays p WHERE p.user_id = s.user_id) AS first_played,
               (SELECT count(DISTINCT a.artist_key) FROM artist_plays a
                WHERE a.user_id = s.user_id AND a.imported_at < s.created_at) AS undated
        FROM (SELECT DISTINCT recommendation_id, user_id, created_at FROM shown) s
        JOIN users u USING (user_id)
    ), said AS (
        SELECT r.recommendation_id, r.position, sum(i.reward) AS reward,
               min('music_interactions from ' || i.source) FILTER (WHERE NOT i.trainable) AS kind
        FROM shown r JOIN music_interactions i
            ON i.recommendation_id = r.recommendation_id AND i.track_id = r.track_id
               AND i.user_id = r.user_id AND i.received_at > r.created_at
               AND i.received_at <= r.created_at + make_interval(days => :days)
        GROUP BY r.recommendation_id, r.position
    )
    SELECT r.user_id, r.recommendation_id, r.position, r.propensity, r.created_at,
           l.joined, l.first_played, l.undated, said.reward,
           CASE WHEN NOT t.trainable THEN 'tracks from ' || t.source
                WHEN NOT (coalesce(a.trainable, true) OR a.estimated)
                    THEN 'audio_features from ' || a.source
                ELSE coalesce(said.kind, c.kind) END AS barred,
           {_COMPONENTS}
    FROM shown r
    JOIN lists l USING (recommendation_id)
    JOIN tracks t USING (track_id)
    LEFT JOIN audio_features a USING (track_id)
    LEFT JOIN said USING (recommendation_id, position)
    LEFT JOIN closed c ON c.user_id = r.user_id
    ORDER BY r.user_id COLLATE "C", r.created_at, r.recommendation_id, r.position
    """  # noqa: S608 - the names are constants of recommender.components
)


@dataclass(frozen=True)
class Impressions:
    """n impressions of u listeners, in the order of listener, time, list and position.

    Attributes
    ----------
    components
        (n, len(KEYS)) float64, as logged; 0 for a component that did not exist yet.
    reward
        (n,) float64: the sum of the rewards that followed, 0 where nothing was said.
    position
        (n,) int64 from 1.
    propensity
        (n,) float64 in (0, 1]: the chance of this track at this place, 1 where nothing was drawn.
    shown_at
        (n,) float64, days since 1970 (UTC).
    stage
        (n,) int64, the place in `STAGES` of the listener's stage when it was shown.
    list, listener
        (n,) int64 from 0; `users` names the listeners.
    refused
        'table from source' -> rows left out because they may not be trained on.
    sha256
        Of the rows used. Of the rewards, whether they are above 0: retention may remove skips.
    window
        The first and the last day of what was shown.
    asked
        The parameters of the query.
    """

    components: FloatArray
    reward: FloatArray
    position: IndexArray
    propensity: FloatArray
    shown_at: FloatArray
    stage: IndexArray
    list: IndexArray
    listener: IndexArray
    users: Sequence[str]
    refused: Mapping[str, int]
    sha256: str
    window: tuple[str, str]
    asked: Mapping[str, object] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return n."""
        return len(self.reward)

    @property
    def part(self) -> Part:
        """What a run says of these rows."""
        return Part(len(self), self.sha256)

    @property
    def is_liked(self) -> NDArray[np.bool_]:
        """(n,) whether what followed was good on the whole."""
        return self.reward > 0

    @property
    def listeners_who_liked(self) -> int:
        """How many listeners liked something that they were shown."""
        return len(np.unique(self.listener[self.is_liked]))

    @property
    def are_enough(self) -> bool:
        """Whether there is enough to fit weights to."""
        return self.listeners_who_liked >= FEWEST_LISTENERS

    def of(self, is_wanted: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Return (n,) which rows are of listeners whose id is wanted."""
        wanted = np.array([is_wanted(user) for user in self.users], dtype=np.bool_)
        return wanted[self.listener]


def read_impressions(
    engine: sa.Engine, *, until: datetime, since: datetime | None = None
) -> Impressions:
    """Read what was shown in a window, with what was said of it.

    Parameters
    ----------
    since, until
        What was shown from then on, and had `OUTCOME_DAYS` to be answered before then.
    """
    keep: dict[str, list[object]] = {name: [] for name in ("user", "list", "joined")}
    numbers: list[FloatArray] = []
    stages: list[int] = []
    digest = ContentHash()
    refused: Counter[str] = Counter()
    asked = {"since": since, "until": until, "days": OUTCOME_DAYS}
    days: list[datetime] = []
    with engine.connect() as connection:
        stream = connection.execution_options(stream_results=True, yield_per=BLOCK)
        for block in stream.execute(_ROWS, asked).partitions():
            used = [row for row in block if row.barred is None]
            refused.update(row.barred for row in block if row.barred is not None)
            for row in used:
                stages.append(_stage(row.created_at, row.joined, row.first_played, row.undated))
                digest.add((*row[:5], stages[-1], (row.reward or 0) > 0, *row[10:]))
            keep["user"] += [row.user_id for row in used]
            keep["list"] += [row.recommendation_id for row in used]
            days += [row.created_at for row in used]
            numbers.append(
                np.array(
                    [
                        (
                            row.position,
                            row.propensity,
                            row.created_at.timestamp() / 86_400,
                            row.reward or 0.0,
                            *row[10:],
                        )
                        for row in used
                    ],
                    dtype=np.float64,
                ).reshape(len(used), 4 + len(KEYS))
            )
    table = np.concatenate([np.empty((0, 4 + len(KEYS))), *numbers])
    users, listener = _numbered(keep["user"])
    return Impressions(
        components=np.ascontiguousarray(table[:, 4:]),
        reward=table[:, 3].copy(),
        position=table[:, 0].astype(np.int64),
        propensity=table[:, 1].copy(),
        shown_at=table[:, 2].copy(),
        stage=np.array(stages, dtype=np.int64),
        list=_numbered(keep["list"])[1],
        listener=listener,
        users=[str(user) for user in users],
        refused=dict(sorted(refused.items())),
        sha256=digest.hexdigest(),
        window=_window(days),
        asked=asked,
    )


def _stage(shown: datetime, joined: datetime, first_played: datetime | None, undated: int) -> int:
    """Return the place of the stage that a listener was in, of what had happened by then."""
    first = first_played if first_played is not None and first_played < shown else None
    stage = stage_of(
        account_age_days(shown, joined, first),
        has_dated_plays=first is not None,
        undated_artists=undated,
    )
    return STAGES.index(stage)


def _numbered(values: Sequence[object]) -> tuple[list[object], IndexArray]:
    """Return the distinct values in the order of their first, and each one's number."""
    number: dict[object, int] = {}
    codes = [number.setdefault(value, len(number)) for value in values]
    return list(number), np.array(codes, dtype=np.int64)


def _window(times: Sequence[datetime]) -> tuple[str, str]:
    if not times:
        return "none", "none"
    first, last = (at.astimezone(UTC).date().isoformat() for at in (min(times), max(times)))
    return first, last
