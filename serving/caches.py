"""The four caches: which database, how long, and how well they serve.

Every key has a time to live and the prefix of its cache. Counts of all workers of a day stand in
Redis beside what they count, so that any worker can tell them.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec
import redis

from serving.metrics import CACHE, DEGRADED

LIST_SECONDS = 24 * 3600
PROFILE_SECONDS = 30 * 60
COUNT_DAYS = 7
_SCANNED_AT_A_TIME = 500

Result = Literal["hit", "rerank", "miss"]


@dataclass(frozen=True)
class Kind:
    """What one cache is for."""

    name: str
    db: int
    seconds: int
    prefixes: tuple[str, ...]


RECOMMENDATIONS = Kind("recommendations", 0, LIST_SECONDS, ("lists", "pools"))
AUDIO_FEATURES = Kind("audio_features", 1, 7 * 24 * 3600, ("audio",))
API = Kind("api", 2, 6 * 3600, ("api",))
USER_DATA = Kind("user_data", 3, PROFILE_SECONDS, ("profile", "q", "near"))
KINDS = (RECOMMENDATIONS, AUDIO_FEATURES, API, USER_DATA)


class CacheStats(msgspec.Struct, kw_only=True, frozen=True):
    """How a cache served over the last days, in all workers.

    `hit_rate_percent`: hits of all look-ups; a rerank is neither hit nor miss.
    """

    cache: str
    hits: int
    reranks: int
    misses: int
    total_requests: int
    hit_rate_percent: float
    redis_memory_used_mb: float


class NamedCache:
    """One of the four caches: values of bytes under keys of its prefixes.

    Parameters
    ----------
    client
        On the cache's database; asked for at each use, since it may be opened anew.
    now
        The clock, for the day that counts belong to.
    """

    def __init__(
        self, kind: Kind, client: Callable[[], redis.Redis], *, now: Callable[[], datetime]
    ) -> None:
        self.kind = kind
        self._client = client
        self._now = now
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._not_shown: Counter[str] = Counter()
        self._counters = {r: CACHE.labels(kind.name, r) for r in ("hit", "rerank", "miss")}

    def get(self, key: str) -> bytes | None:
        """Return a value, None where there is none or Redis is away; counted."""
        try:
            found = self._client().get(f"{self.kind.prefixes[0]}:{key}")
        except redis.RedisError:
            DEGRADED.labels("redis").inc()
            found = None
        self.count("miss" if found is None else "hit")
        return found if isinstance(found, bytes) else None

    def set(self, key: str, value: bytes) -> None:
        """Keep a value for the cache's time."""
        try:
            self._client().set(f"{self.kind.prefixes[0]}:{key}", value, ex=self.kind.seconds)
        except redis.RedisError:
            DEGRADED.labels("redis").inc()

    def invalidate(self, pattern: str = "*") -> int:
        """Drop every key of this cache whose part after the prefix fits a glob pattern.

        Keys are found by SCAN, a few hundred at a time: the server is never stopped by it.

        Returns
        -------
        How many were dropped.
        """
        dropped = 0
        for prefix in self.kind.prefixes:
            dropped += drop(self._client(), f"{prefix}:{pattern}")
        return dropped

    def count(self, result: Result) -> None:
        """Count one look-up."""
        with self._lock:
            self._counts[result] += 1
            self._not_shown[result] += 1

    def tell_metrics(self) -> None:
        """Add what was counted here to Prometheus's counters: see `serving.tally`."""
        with self._lock:
            told, self._not_shown = self._not_shown, Counter()
        for result, n in told.items():
            self._counters[result].inc(n)

    def tell_counts(self) -> None:
        """Add what was counted here to what all workers counted; Redis away: at the next time."""
        with self._lock:
            told, self._counts = self._counts, Counter()
        if not told:
            return
        key = self._key(self._now())
        pipeline = self._client().pipeline(transaction=False)
        for result, n in told.items():
            pipeline.hincrby(key, result, n)
        pipeline.expire(key, (COUNT_DAYS + 1) * 24 * 3600)
        try:
            pipeline.execute()
        except redis.RedisError:
            DEGRADED.labels("redis").inc()
            with self._lock:
                self._counts += told

    def get_stats(self) -> CacheStats:
        """Return how the cache served over the last seven days; zeros while Redis is away."""
        counts: Counter[str] = Counter()
        memory = 0
        try:
            for day in range(COUNT_DAYS):
                found: dict[bytes, bytes] = self._client().hgetall(  # type: ignore[assignment]
                    self._key(self._now() - timedelta(days=day))
                )
                counts.update({key.decode(): int(n) for key, n in found.items()})
            memory = memory_bytes(self._client())
        except redis.RedisError:
            DEGRADED.labels("redis").inc()
        total = counts.total()
        return CacheStats(
            cache=self.kind.name,
            hits=counts["hit"],
            reranks=counts["rerank"],
            misses=counts["miss"],
            total_requests=total,
            hit_rate_percent=round(100 * counts["hit"] / total, 2) if total else 0.0,
            redis_memory_used_mb=round(memory / 1_000_000, 3),
        )

    def _key(self, at: datetime) -> str:
        return f"stats:{self.kind.name}:{at:%Y-%m-%d}"


def drop(client: redis.Redis, pattern: str) -> int:
    """Drop every key that fits a pattern, found by SCAN; returns how many."""
    dropped = 0
    batch: list[bytes] = []
    for key in client.scan_iter(match=pattern, count=_SCANNED_AT_A_TIME):
        batch.append(key)
        if len(batch) == _SCANNED_AT_A_TIME:
            dropped += _unlink(client, batch)
            batch = []
    return dropped + _unlink(client, batch)


def _unlink(client: redis.Redis, keys: list[bytes]) -> int:
    # One command per key, in one round trip: on a cluster they may lie on different nodes.
    if not keys:
        return 0
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.unlink(key)
    return sum(int(n) for n in pipeline.execute())


def memory_bytes(client: redis.Redis) -> int:
    """Return the memory that Redis uses, of all nodes of a cluster together."""
    found = client.info("memory")
    if "used_memory" in found:
        return int(found["used_memory"])
    return sum(int(node["used_memory"]) for node in found.values())


def glob(text: str) -> str:
    r"""Return a pattern that fits this text alone.

    Examples
    --------
    >>> glob("a*b[1]")
    'a\\*b\\[1\\]'
    """
    return "".join(f"\\{c}" if c in "*?[]^\\" else c for c in text)
