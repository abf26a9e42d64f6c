"""The promises that a worker can check by itself, as they were kept lately."""

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from prometheus_client import Histogram
from prometheus_client.samples import Sample

from serving.caches import CacheStats
from serving.metrics import LATENCY, QUERIES
from serving.schemas import Criterion

SHARE = 0.95
SINCE_START = "this worker, since its start"
DAYS = 30

_PLAYS = sa.text(
    """
    SELECT count(*), count(*) FILTER (WHERE listen_duration_ms > 30000)
    FROM music_interactions
    WHERE listen_duration_ms IS NOT NULL AND received_at > :now - make_interval(days => :days)
    """
)


def criteria(connection: sa.Connection, lists: CacheStats, *, now: datetime) -> list[Criterion]:
    """Return each promise with its figure; `bondhu criteria` has those that need the whole log.

    Times are the upper ends of the histogram's bins that hold 95% of what was observed.
    """
    plays, long_plays = connection.execute(_PLAYS, {"now": now, "days": DAYS}).one()
    total = lists.total_requests
    return [
        _below("API response (cached), ms, 95%", 200.0, LATENCY, {"cache": "hit"}),
        _below("Initial recommendation, ms, 95%", 3000.0, LATENCY, {"cache": "miss"}),
        _below("Database query, ms, 95%", 50.0, QUERIES, {}),
        _above("Cache hit rate, %", 80.0, lists.hits, total, "7 days, all workers"),
        _above("Tracks played > 30 s, %", 60.0, long_plays, plays, f"{DAYS} days"),
    ]


def _below(metric: str, target: float, histogram: Histogram, labels: dict[str, str]) -> Criterion:
    n, actual = quantile(histogram, labels, SHARE)
    milliseconds = None if actual is None else actual * 1000
    return Criterion(
        metric=metric,
        target=f"< {target:g}",
        actual=milliseconds,
        n=n,
        window=SINCE_START,
        met=None if milliseconds is None else milliseconds < target,
    )


def _above(metric: str, target: float, hits: int, n: int, window: str) -> Criterion:
    actual = 100 * hits / n if n else None
    met = None if actual is None else actual > target
    return Criterion(
        metric=metric, target=f"> {target:g}", actual=actual, n=n, window=window, met=met
    )


def quantile(
    histogram: Histogram, labels: dict[str, str], share: float
) -> tuple[int, float | None]:
    """Return how much was observed, and the upper end of the bin that holds `share` of it.

    Beyond the last bin there is none: None, as where nothing was observed.
    """
    bins: dict[float, float] = {}
    for sample in _samples(histogram):
        if sample.name.endswith("_bucket") and labels.items() <= sample.labels.items():
            end = float(sample.labels["le"])
            bins[end] = bins.get(end, 0.0) + sample.value
    n = int(bins.get(float("inf"), 0))
    reached = (end for end in sorted(bins) if n and bins[end] >= share * n)
    end = next(reached, float("inf"))
    return n, None if end == float("inf") else end


def _samples(histogram: Histogram) -> Iterable[Sample]:
    return (sample for metric in histogram.collect() for sample in metric.samples)
