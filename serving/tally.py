"""What answers count, kept as plain numbers and told to Prometheus in batches.

Its counters are files that the workers of a service share: one increment costs 2 us, and an answer
makes five, which is a tenth of a cached list; a query makes three. Told every two seconds, and
before this worker's /metrics is read.
"""

import threading
from bisect import bisect_left
from dataclasses import dataclass, field

from prometheus_client import Histogram

from serving.metrics import ANSWERS, BUCKETS, LATENCY, LISTS, QUERIES, TRACKS_SHOWN


@dataclass(slots=True)
class _Times:
    n: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))

    def add(self, seconds: float) -> None:
        self.n += 1
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS, seconds)] += 1

    def tell(self, histogram: Histogram) -> None:
        # `observe` takes one at a time: these are the two things that it does.
        histogram._sum.inc(self.seconds)
        for bucket, n in zip(histogram._buckets, self.buckets, strict=True):
            if n:
                bucket.inc(n)


class Tally:
    """Counts of one process since they were last told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, str, int], _Times] = {}
        self._queries: dict[str, _Times] = {}
        self._lists: dict[str, tuple[int, int]] = {}

    def answered(self, route: str, cache: str, status: int, seconds: float) -> None:
        """Count an answer by route template, cache result and status."""
        with self._lock:
            found = self._answers.get((route, cache, status))
            if found is None:
                found = self._answers[route, cache, status] = _Times()
            found.add(seconds)

    def queried(self, query: str, seconds: float) -> None:
        """Count a query by its name."""
        with self._lock:
            found = self._queries.get(query)
            if found is None:
                found = self._queries[query] = _Times()
            found.add(seconds)

    def listed(self, cache: str, tracks: int) -> None:
        """Count an answered list and its positions."""
        with self._lock:
            lists, shown = self._lists.get(cache, (0, 0))
            self._lists[cache] = lists + 1, shown + tracks

    def tell(self) -> None:
        """Add what was counted to Prometheus's counters."""
        with self._lock:
            answers, self._answers = self._answers, {}
            lists, self._lists = self._lists, {}
            queries, self._queries = self._queries, {}
        for (route, cache, status), one in answers.items():
            ANSWERS.labels(route, str(status)).inc(one.n)
            one.tell(LATENCY.labels(route, cache))
        for query, one in queries.items():
            one.tell(QUERIES.labels(query))
        for cache, (n, tracks) in lists.items():
            LISTS.labels(cache).inc(n)
            TRACKS_SHOWN.inc(tracks)


TALLY = Tally()
"""This process's, as Prometheus's counters are."""
