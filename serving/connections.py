"""Ways to Redis: one server with numbered databases, or a cluster, told apart by asking.

On a cluster there is database 0 only, so that the prefixes of keys alone keep the caches apart. All
keys of one listener share a hash tag and with it a node: a script may touch several of them.
"""

from typing import Any

import redis
import redis.asyncio

PATIENCE_SECONDS = 0.5
"""For a free connection, for connecting and for an answer; longer than that Redis is away."""


def tagged(prefix: str, user_id: str) -> str:
    """Return the key of a listener under a prefix, its hash tag being the listener.

    Examples
    --------
    >>> tagged("lists", "ada"), tagged("lists", "}{")
    ('lists:{ada}', 'lists:{%7D{}')
    """
    # An empty tag would be none at all, and the keys of one listener on several nodes.
    return f"{prefix}:{{{user_id.replace('%', '%25').replace('}', '%7D')}}}"


def ask_whether_cluster(url: str) -> bool | None:
    """Return whether the server is a node of a cluster; None while it is away."""
    try:
        with redis.Redis.from_url(
            url,
            socket_timeout=PATIENCE_SECONDS,
            socket_connect_timeout=PATIENCE_SECONDS,
            retry=None,
        ) as client:
            return bool(client.info("cluster").get("cluster_enabled"))
    except redis.RedisError:
        return None


def connect(url: str, db: int, *, connections: int, cluster: bool) -> redis.Redis:
    """Return a client for threads; it opens up to `connections` connections, when needed."""
    patience = {
        "socket_timeout": PATIENCE_SECONDS,
        "socket_connect_timeout": PATIENCE_SECONDS,
    }
    if cluster:
        # The same commands, each sent to the node that has its key.
        found: Any = redis.RedisCluster.from_url(url, max_connections=connections, **patience)
        client: redis.Redis = found
        return client
    pool = redis.BlockingConnectionPool.from_url(
        url,
        db=db,
        max_connections=connections,
        timeout=PATIENCE_SECONDS,
        retry=None,
        **patience,
    )
    return redis.Redis(connection_pool=pool)


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
