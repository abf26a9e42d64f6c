"""Ways to Redis that only the service needs; the others are `features.redis_server`'s."""

from typing import Any

import redis
import redis.asyncio

from features.redis_server import PATIENCE_SECONDS, as_redis_error


class AsyncCluster(redis.asyncio.RedisCluster):
    """`features.redis_server.Cluster` for the event loop."""

    async def execute_command(self, *args: Any, **named: Any) -> Any:
        """Send a command to the node that has its key."""
        with as_redis_error():
            return await super().execute_command(*args, **named)


def connect_cluster(url: str, connections: int) -> AsyncCluster:
    """Return a client of a cluster for the event loop."""
    client: Any = AsyncCluster.from_url(
        url,
        max_connections=connections,
        socket_timeout=PATIENCE_SECONDS,
        socket_connect_timeout=PATIENCE_SECONDS,
    )
    opened: AsyncCluster = client
    return opened


def in_use(client: redis.Redis) -> int:
    """Return how many of a client's connections are busy; 0 where that is not known."""
    pool = getattr(client, "connection_pool", None)
    busy = getattr(pool, "_in_use_connections", None)
    return len(busy) if busy is not None else 0
