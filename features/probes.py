"""What a prober saw of the service: whether it answered, and its own histograms of times."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf

import sqlalchemy as sa

from features.engagement import Figure

Bins = Mapping[str, int]
"""Upper end in seconds ('+Inf' last) -> how many took no longer, since the worker's start."""

_STORE = sa.text(
    "INSERT INTO probes (address, at, ok, milliseconds, histograms)"
    " VALUES (:address, :at, :ok, :milliseconds, CAST(:histograms AS jsonb))"
    " ON CONFLICT (address, at) DO NOTHING"
)
_ANSWERED = sa.text(
    "SELECT count(*), count(*) FILTER (WHERE ok) FROM probes WHERE at >= :since AND at < :until"
)
_HISTOGRAMS = sa.text(
    "SELECT address, histograms -> :name FROM probes"
    " WHERE at >= :since AND at < :until AND histograms ? :name ORDER BY address, at"
)


@dataclass(frozen=True)
class Probe:
    """One look at the service.

    Attributes
    ----------
    milliseconds
        Until it answered, or until the look was given up.
    """

    address: str
    at: datetime
    ok: bool
    milliseconds: float
    histograms: Mapping[str, Bins]


def store(engine: sa.Engine, probe: Probe) -> None:
    """Write a probe down."""
    with engine.begin() as connection:
        connection.execute(
            _STORE,
            {
                "address": probe.address,
                "at": probe.at,
                "ok": probe.ok,
                "milliseconds": probe.milliseconds,
                "histograms": json.dumps(probe.histograms),
            },
        )


def uptime(connection: sa.Connection, *, since: datetime, until: datetime) -> Figure:
    """Return the share of probes that the service answered."""
    n, answered = connection.execute(_ANSWERED, {"since": since, "until": until}).one()
    return Figure(answered / n if n else None, n)


def milliseconds(
    connection: sa.Connection, name: str, *, share: float, since: datetime, until: datetime
) -> Figure:
    """Return the time within which `share` of what was counted ended: a bin's upper end.

    Infinite where that is beyond the last bin; None where nothing was counted.
    """
    asked = {"name": name, "since": since, "until": until}
    rows = connection.execute(_HISTOGRAMS, asked).all()
    bins = grown((address, bins) for address, bins in rows)
    n = bins.get(inf, 0)
    if not n:
        return Figure(None, 0)
    end = min(end for end, count in bins.items() if count >= share * n)
    return Figure(1000 * end, n)


def grown(rows: Iterable[tuple[str, Bins]]) -> dict[float, int]:
    """Return by how much bins grew from probe to probe; a worker that began anew counts from 0.

    Examples
    --------
    >>> rows = [("a", {"0.1": 5, "+Inf": 9}), ("a", {"0.1": 6, "+Inf": 12}),
    ...         ("a", {"0.1": 1, "+Inf": 2})]
    >>> grown(rows)
    {0.1: 2, inf: 5}
    """
    total: dict[float, int] = {}
    before: dict[str, Bins] = {}
    for address, bins in rows:
        last = before.get(address)
        if last is not None:
            has_begun_anew = bins.get("+Inf", 0) < last.get("+Inf", 0)
            for end, count in bins.items():
                start = 0 if has_begun_anew else last.get(end, 0)
                at = inf if end == "+Inf" else float(end)
                total[at] = total.get(at, 0) + max(0, count - start)
        before[address] = bins
    return total
