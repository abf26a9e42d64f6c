"""The promises that a worker can check by itself, as they were kept lately."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa
from prometheus_client import Histogram
from prometheus_client.samples import Sample

from features.engagement import Figure, long_plays
from features.targets import SHARE, TARGETS
from serving.caches import CacheStats
from serving.metrics import LATENCY, QUERIES
from serving.schemas import Criterion

SINCE_START = "this worker, since its start"
DAYS = 30


def criteria(connection: sa.Connection, lists: CacheStats, *, now: datetime) -> list[Criterion]:
    """Return each promise with its figure; `bondhu criteria` has those that need the whole log.

    Times are the upper ends of the histogram's bins that hold 95% of what was observed.
    """
    heard = long_plays(connection, since=now - timedelta(days=DAYS), until=now)
    n = lists.total_requests
    hits = Figure(lists.hits / n if n else None, n)
    return [
        _row("cached", _time(LATENCY, {"cache": "hit"}), SINCE_START),
        _row("initial", _time(LATENCY, {"cache": "miss"}), SINCE_START),
        _row("queries", _time(QUERIES, {}), SINCE_START),
        _row("cache_hits", hits, "7 days, all workers"),
        _row("long_plays", heard, f"{DAYS} days"),
    ]


def _time(histogram: Histogram, labels: dict[str, str]) -> Figure:
    n, seconds = quantile(histogram, labels, SHARE)
    return Figure(None if seconds is None else seconds * 1000, n)


def _row(name: str, figure: Figure, window: str) -> Criterion:
    target, value = TARGETS[name], figure.value
    return Criterion(
        metric=", ".join(filter(None, (target.name, target.unit, target.of))),
        target=f"{target.direction} {target.scaled(target.limit):g}",
        actual=None if value is None else target.scaled(value),
        n=figure.n,
        window=window,
        met=None if value is None else target.is_met(value),
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
