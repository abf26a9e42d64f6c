"""Drift: how far what was heard, and who listens, moved from the four weeks before.

The population stability index over bins b, with p and q the shares of a day and of the days before:
PSI = sum_b (p_b - q_b) ln(p_b / q_b). Under .1 little moved, over .25 much did (the usual reading,
Siddiqi 2006, Credit Risk Scorecards).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import log

import sqlalchemy as sa

from features.bulk import make_room
from features.feeds import BEFORE_DAYS
from recommender.audio import FEATURES
from recommender.cold_start import stage_of

BINS = 10
LEAST = 200
"""Under so many rows on either side nothing is said: noise alone moves PSI by about bins / rows."""

_SCALED = {name: name if name != "tempo" else "(tempo - 50) / 150" for name in FEATURES}
_HEARD = """
    SELECT track_id, user_id, played_at AS at FROM plays
    WHERE played_at >= :since AND played_at < :until
    UNION ALL
    SELECT track_id, user_id, received_at FROM music_interactions
    WHERE received_at >= :since AND received_at < :until
"""
_FEATURES = sa.text(
    f"""
    WITH heard AS (
        SELECT at >= :day AS today, track_id, count(*) AS n FROM ({_HEARD}) h GROUP BY 1, 2
    ), binned AS (
        SELECT h.today, h.n, f.name,
               least({BINS - 1}, greatest(0, floor(f.value * {BINS})::int))::text AS bin
        FROM heard h JOIN audio_features a USING (track_id)
        CROSS JOIN LATERAL (VALUES {", ".join(f"('{n}', {x})" for n, x in _SCALED.items())})
            AS f (name, value)
        WHERE f.value IS NOT NULL
        UNION ALL
        SELECT h.today, h.n, 'category', coalesce(t.category, 'none')
        FROM heard h JOIN tracks t USING (track_id)
    )
    SELECT name, bin, coalesce(sum(n) FILTER (WHERE today), 0)::bigint,
           coalesce(sum(n) FILTER (WHERE NOT today), 0)::bigint
    FROM binned GROUP BY name, bin
    """  # noqa: S608 - constants above
)
# Who has a play before the window has no need of counts: they are then not asked for.
_LISTENERS = sa.text(
    f"""
    WITH heard AS ({_HEARD}), active AS (
        SELECT at >= :day AS today, user_id, max(at) AS last
        FROM heard GROUP BY 1, 2, date_trunc('day', at)
    ), known AS MATERIALIZED (
        SELECT u.user_id, f.first, least(u.created_at, f.first) AS since,
               CASE WHEN f.first < :since THEN 0
                    ELSE (SELECT count(DISTINCT c.artist_key) FROM artist_plays c
                          WHERE c.user_id = u.user_id AND c.imported_at < :until) END AS undated
        FROM (SELECT DISTINCT user_id FROM active) a JOIN users u USING (user_id)
        LEFT JOIN LATERAL (SELECT p.played_at AS first FROM plays p WHERE p.user_id = u.user_id
                           ORDER BY p.played_at LIMIT 1) f ON true
    )
    SELECT today, greatest(0, floor(extract(epoch FROM last - since) / 86400))::int,
           coalesce(first <= last, false), undated, count(*)
    FROM active JOIN known USING (user_id) GROUP BY 1, 2, 3, 4
    """  # noqa: S608 - constants above
)


def drift(engine: sa.Engine, *, day: datetime, until: datetime) -> dict[str, float]:
    """Return name -> PSI of [day, until) against the days before, where there is enough to say.

    Names: each audio feature of what was heard, `category` of what was heard, `listeners` by the
    cold-start stage of who was active (each listener once a day). Of a history that was imported
    later, the stages before count it too: what moves is who listens, not what is known of them.
    """
    asked = {"day": day, "until": until}
    with engine.connect() as connection:
        make_room(connection)
        since = connection.scalar(
            sa.text("SELECT CAST(:day AS timestamptz) - make_interval(days => :days)"),
            {"day": day, "days": BEFORE_DAYS},
        )
        features = connection.execute(_FEATURES, asked | {"since": since}).all()
        ages = connection.execute(_LISTENERS, asked | {"since": since}).all()
    counts: dict[str, dict[str, list[int]]] = {}
    for name, bin_, today, before in features:
        counts.setdefault(name, {})[bin_] = [today, before]
    stages: dict[str, list[int]] = {}
    for is_today, age, is_dated, undated, n in ages:
        stage = stage_of(age, has_dated_plays=is_dated, undated_artists=undated)
        stages.setdefault(str(stage), [0, 0])[0 if is_today else 1] += n
    counts["listeners"] = stages
    found = {}
    for name, bins in sorted(counts.items()):
        today, before = ([pair[side] for pair in bins.values()] for side in (0, 1))
        if min(sum(today), sum(before)) >= LEAST:
            found[name] = psi(today, before)
    return found


def psi(today: Sequence[int], before: Sequence[int]) -> float:
    """Return the population stability index of two rows of counts; half a row added to each bin.

    Examples
    --------
    >>> round(psi([500, 500], [500, 500]), 6), round(psi([900, 100], [500, 500]), 2)
    (0.0, 0.88)
    """
    p, q = ([(n + 0.5) / (sum(row) + 0.5 * len(row)) for n in row] for row in (today, before))
    return sum((a - b) * log(a / b) for a, b in zip(p, q, strict=True))


def drifted(found: Mapping[str, float], limit: float) -> list[str]:
    """Return a line for each name whose PSI is over the limit.

    Examples
    --------
    >>> drifted({"energy": 0.31, "tempo": 0.02}, 0.25)
    ['drift: energy moved by PSI 0.31 (at most 0.25)']
    """
    return [
        f"drift: {name} moved by PSI {value:.2f} (at most {limit:g})"
        for name, value in found.items()
        if value > limit
    ]
