"""Impressions: what listeners were shown, at which place and with which chance, and what followed.

A row is one position of a list as of the moment it was shown. Its components are those that were
logged with it, never computed anew; its stage is what was known then; its outcome is the feedback
that names the list and came in during `OUTCOME_DAYS` after it. Lists that have not had that time
before `until` are left out, so that the same window read later gives the same rows.

Not all are read: of listeners drawn by hash the latest lists, in turn, up to so many rows. Where
there are no more than that, all of the window are.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.cold_start import Stage, account_age_days, stage_of
from recommender.components import KEYS
from recommender.tracks import IndexArray
from training.data.data_parts import ContentHash, Part
from training.data.holdout import DRAW, salt_of

OUTCOME_DAYS = 2
"""A list is served for one day; what is said of it later is not counted."""
FEWEST_LISTENERS = 50
"""From so many listeners on who liked something of what they were shown, impressions are learned
from; below, histories alone."""
MOST_ROWS = 300_000
"""Rows in memory: 104 B each, 30 MiB; up to 90 MiB more while they are read or fitted to."""
MOST_LISTENERS = 6_000
"""Listeners whose lists are looked for: one list of 50 places for each fills `MOST_ROWS`."""
WINDOW_DAYS = 180
"""Where no `since` is given. Older lists were made by other policies and components, and count less
than half in a fit (`training.fit.impression_rows.HALF_LIFE_DAYS`)."""
PURPOSE = "impressions"
"""Of the draw: not that of histories, whose weights are the prior here."""
BLOCK = 10_000
"""Rows of an answer that are objects at once."""
STAGES: tuple[Stage, ...] = tuple(Stage)
_FIRST = 10
"""Columns of the answer before the components."""
_COLUMNS = 7 + len(KEYS)

_COMPONENTS = ", ".join(f"coalesce((r.components ->> '{key}')::float8, 0)" for key in KEYS)
_IN_WINDOW = """r.created_at >= :since
    AND r.created_at <= CAST(:until AS timestamptz) - make_interval(days => :days)"""
# Lists by their listener and moment, which are an index of their own, so that none is opened here.
# What a listener played is in the components: where a part of it may not be used, none of them may.
_DRAWN = sa.text(
    f"""
    WITH closed AS (
        SELECT user_id, min(kind) AS kind FROM (
            SELECT user_id, 'plays from ' || source AS kind FROM plays WHERE NOT trainable
            UNION ALL
            SELECT user_id, 'artist_plays from ' || source FROM artist_plays WHERE NOT trainable
        ) parts GROUP BY user_id
    ), drawn AS MATERIALIZED (
        -- In the order of the hash, looking no further than needed. Listeners of whom nothing may
        -- be used come last: they are counted where there is place.
        SELECT u.user_id, u.closed, u.is_closed, u.draw
        FROM (SELECT user_id, c.kind AS closed, c.user_id IS NOT NULL AS is_closed,
                     {DRAW.format("user_id")} AS draw
              FROM users LEFT JOIN closed c USING (user_id) ORDER BY is_closed, draw) u,
             LATERAL (SELECT FROM music_recommendations r
                      WHERE r.user_id = u.user_id AND {_IN_WINDOW} LIMIT 1) was_shown_something
        ORDER BY u.is_closed, u.draw LIMIT :listeners
    )
    SELECT user_id, created_at, closed
    FROM (
        -- Everybody's latest first, then everybody's second ...: nobody's many lists take the
        -- places of others.
        SELECT user_id, created_at, closed,
               sum(places) OVER (ORDER BY is_closed, nth, draw) AS so_far
        FROM (
            SELECT d.user_id, d.closed, d.is_closed, d.draw, r.created_at, count(*) AS places,
                   row_number() OVER (PARTITION BY d.user_id ORDER BY r.created_at DESC) AS nth
            FROM drawn d JOIN music_recommendations r ON r.user_id = d.user_id AND {_IN_WINDOW}
            GROUP BY d.user_id, d.closed, d.is_closed, d.draw, r.created_at
        ) latest
    ) counted
    WHERE so_far <= :most
    """  # noqa: S608 - constants of this module and of holdout
)
# Arrays, so that the server knows how many lists there are; what was said is looked up place by
# place, since no index and no guess leads from a list to it.
_ROWS = sa.text(
    f"""
    WITH shown AS MATERIALIZED (
        SELECT r.recommendation_id, r.position, r.user_id, r.track_id, r.propensity, r.created_at,
               r.components, m.closed
        FROM unnest(CAST(:users AS text[]), CAST(:moments AS timestamptz[]),
                    CAST(:closed AS text[])) AS m (user_id, created_at, closed)
        JOIN music_recommendations r USING (user_id, created_at)
    ), lists AS MATERIALIZED (
        -- Lists made ahead that nobody got are none; once they have expired, cleaning removes them.
        SELECT s.recommendation_id, u.created_at AS joined,
               (SELECT min(p.played_at) FROM plays p WHERE p.user_id = s.user_id) AS first_played,
               (SELECT count(DISTINCT a.artist_key) FROM artist_plays a
                WHERE a.user_id = s.user_id AND a.imported_at < s.created_at) AS undated
        FROM (SELECT DISTINCT recommendation_id, user_id, created_at FROM shown) s
        JOIN users u USING (user_id)
        WHERE NOT coalesce((SELECT was_never_shown(c.recommendation_id, c.user_id, c.servings)
                            FROM recommendations_cache c
                            WHERE c.recommendation_id = s.recommendation_id), false)
    )
    SELECT r.user_id, CAST(r.recommendation_id AS text), r.position, r.propensity, r.created_at,
           l.joined, l.first_played, l.undated, said.reward,
           CASE WHEN NOT t.trainable THEN 'tracks from ' || t.source
                WHEN NOT (coalesce(a.trainable, true) OR a.estimated)
                    THEN 'audio_features from ' || a.source
                ELSE coalesce(said.kind, r.closed) END AS barred,
           {_COMPONENTS}
    FROM shown r
    JOIN lists l USING (recommendation_id)
    JOIN tracks t USING (track_id)
    LEFT JOIN audio_features a USING (track_id)
    CROSS JOIN LATERAL (
        SELECT sum(i.reward) AS reward,
               min('music_interactions from ' || i.source) FILTER (WHERE NOT i.trainable) AS kind
        FROM music_interactions i
        WHERE i.user_id = r.user_id AND i.track_id = r.track_id
          AND i.recommendation_id = r.recommendation_id AND i.received_at > r.created_at
          AND i.received_at <= r.created_at + make_interval(days => :days)
    ) said
    ORDER BY r.user_id COLLATE "C", r.created_at, r.recommendation_id, r.position
    """  # noqa: S608 - the names are constants of recommender.components
)
# An answer of which all is read: without it a cursor's plan is made for its first tenth.
_ALL_OF_IT = sa.text("SET LOCAL cursor_tuple_fraction = 1")


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
        (n,) int64 from 0; `lists` and `users` name them.
    refused
        'table from source' -> rows left out because they may not be trained on; of those drawn.
    sha256
        Of the rows used. Of the rewards, whether they are above 0: retention may remove skips.
    window
        The first and the last day of what was shown.
    asked
        The parameters of the query.
    lists
        The ids of the lists.
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
    lists: Sequence[UUID] = ()

    def __len__(self) -> int:
        """Return n."""
        return len(self.reward)

    @property
    def part(self) -> Part:
        """What a run says of these rows."""
        return Part(len(self), self.sha256)

    @property
    def sample(self) -> dict[str, object]:
        """Return the parameters of a run that say which sample was asked for."""
        return {
            "impressions_since": str(self.asked["since"]),
            "impressions_until": str(self.asked["until"]),
            "impressions_most": self.asked["most"],
            "impressions_most_listeners": self.asked["listeners"],
        }

    @property
    def sizes(self) -> dict[str, float]:
        """Return the metrics of a run that say on what sample it stands."""
        return {
            "impressions": float(len(self)),
            "impressions_lists": float(len(self.lists)),
            "impressions_listeners": float(len(self.users)),
        }

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
    engine: sa.Engine,
    *,
    seed: int,
    until: datetime,
    since: datetime | None = None,
    most: int = MOST_ROWS,
    listeners: int = MOST_LISTENERS,
) -> Impressions:
    """Read what was shown in a window, with what was said of it; of all, what was drawn.

    Parameters
    ----------
    seed
        Of the draw of listeners.
    since, until
        What was shown from then on, and had `OUTCOME_DAYS` to be answered before then. Without
        `since`, the last `WINDOW_DAYS`.
    most, listeners
        Of no more than so many listeners, no more than so many rows: whole lists, everybody's
        latest, then everybody's second ..., where they begin to be too many.
    """
    asked = {
        "since": until - timedelta(days=WINDOW_DAYS) if since is None else since,
        "until": until,
        "days": OUTCOME_DAYS,
        "salt": salt_of(seed, PURPOSE),
        "most": most,
        "listeners": listeners,
    }
    numbers: list[FloatArray] = []
    digest = ContentHash()
    refused: Counter[str] = Counter()
    users: dict[str, int] = {}  # each one's number
    lists: dict[str, int] = {}
    times: list[datetime] = []  # of lists
    # One snapshot: what is drawn is what is read.
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(_ALL_OF_IT)
        lists_drawn = connection.execute(_DRAWN, asked).all()
        who, when, closed = zip(*lists_drawn, strict=True) if lists_drawn else ((), (), ())
        drawn = {"users": list(who), "moments": list(when), "closed": list(closed)}
        stream = connection.execution_options(stream_results=True, yield_per=BLOCK)
        for block in stream.execute(_ROWS, {**drawn, "days": OUTCOME_DAYS}).partitions(BLOCK):
            rows = []
            for row in block:
                user, name, position, propensity, at, *stands, reward, barred = row[:_FIRST]
                values = row[_FIRST:]
                if barred is not None:
                    refused[barred] += 1
                    continue
                if name not in lists:  # what its places have in common; they come together
                    moment, day = at.astimezone(UTC).isoformat(), at.timestamp() / 86_400
                    stage = _stage(at, *stands)
                    times.append(at)
                    lists[name] = len(lists)
                    of_list = stage, lists[name], users.setdefault(user, len(users))
                liked = (reward or 0) > 0
                digest.add((user, name, position, propensity, moment, stage, liked, *values))
                rows.append((position, *of_list, propensity, day, reward or 0.0, *values))
            numbers.append(np.array(rows, dtype=np.float64).reshape(len(rows), _COLUMNS))
    table = np.concatenate([np.empty((0, _COLUMNS)), *numbers])
    del numbers  # twice the rows are enough
    whole = table[:, :4].T.astype(np.int64)  # codes and places, exact as float64
    return Impressions(
        components=np.ascontiguousarray(table[:, 7:]),
        reward=table[:, 6].copy(),
        position=whole[0],
        propensity=table[:, 4].copy(),
        shown_at=table[:, 5].copy(),
        stage=whole[1],
        list=whole[2],
        listener=whole[3],
        users=list(users),
        refused=dict(sorted(refused.items())),
        sha256=digest.hexdigest(),
        window=_window(times),
        asked=asked,
        lists=[UUID(name) for name in lists],
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


def _window(times: Sequence[datetime]) -> tuple[str, str]:
    if not times:
        return "none", "none"
    first, last = (at.astimezone(UTC).date().isoformat() for at in (min(times), max(times)))
    return first, last
