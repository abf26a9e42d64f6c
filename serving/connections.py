"""Ways to Redis that only the service needs; the others are `features.redis_server`'s."""

import redis
import redis.asyncio

from features.redis_server import PATIENCE_SECONDS


def connect_cluster(url: str, connections: int) -> redis.asyncio.RedisCluster:
    """Return a client of a cluster for the event loop."""
    return redis.asyncio.RedisCluster.from_url(
        url,
        max_connections=connections,
        socket_timeout=PATIENCE_SECONDS,
        socket_connect_timeout=PATIENCE_SECONDS,
    )


def in_use(client: redis.Redis) -> int:
    """Return how many of a client's connections are busy; 0 where that is not known."""
    pool = getattr(client, "connection_pool", None)
    busy = getattr(pool, "_in_use_connections", None)
    return len(busy) if busy is not None else 0
