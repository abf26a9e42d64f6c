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
from training.data.holdout import salt_of
from training.data.impression_statements import ALL_OF_IT, DRAWN, FIRST, ROWS

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
_COLUMNS = 7 + len(KEYS)


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
        connection.execute(ALL_OF_IT)
        lists_drawn = connection.execute(DRAWN, asked).all()
        who, when, closed = zip(*lists_drawn, strict=True) if lists_drawn else ((), (), ())
        drawn = {"users": list(who), "moments": list(when), "closed": list(closed)}
        stream = connection.execution_options(stream_results=True, yield_per=BLOCK)
        for block in stream.execute(ROWS, {**drawn, "days": OUTCOME_DAYS}).partitions(BLOCK):
            rows = []
            for row in block:
                user, name, position, propensity, at, *stands, reward, barred = row[:FIRST]
                values = row[FIRST:]
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
