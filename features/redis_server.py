"""Ways to Redis: one server with numbered databases, or a cluster, told apart by asking.

On a cluster there is database 0 only, so that the prefixes of keys alone keep the caches apart. All
keys of one listener share a hash tag and with it a node: a script may touch several of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.exceptions import RedisClusterException

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


@contextmanager
def as_redis_error() -> Iterator[None]:
    """Let a cluster that is away say so as a single server does: its own word is no RedisError."""
    try:
        yield
    except RedisClusterException as error:
        raise redis.ConnectionError(str(error)) from None


class Cluster(redis.RedisCluster):
    """A client of a cluster; whatever is away is a `redis.RedisError`."""

    def __init__(self, *args: Any, **named: Any) -> None:
        with as_redis_error():
            super().__init__(*args, **named)

    def execute_command(self, *args: Any, **named: Any) -> Any:
        """Send a command to the node that has its key."""
        with as_redis_error():
            return super().execute_command(*args, **named)  # type: ignore[no-untyped-call]

    def pipeline(self, *args: Any, **named: Any) -> Any:
        """Return a pipeline, whose commands each go to the node that has their key."""
        pipeline: Any = super().pipeline(*args, **named)  # type: ignore[no-untyped-call]
        execute = pipeline.execute

        def executed(*args: Any, **named: Any) -> Any:
            with as_redis_error():
                return execute(*args, **named)

        pipeline.execute = executed
        return pipeline


def connect(url: str, db: int, *, connections: int, cluster: bool) -> redis.Redis:
    """Return a client for threads; it opens up to `connections` connections, when needed."""
    patience = {
        "socket_timeout": PATIENCE_SECONDS,
        "socket_connect_timeout": PATIENCE_SECONDS,
    }
    if cluster:
        # The same commands, each sent to the node that has its key.
        found: Any = Cluster.from_url(url, max_connections=connections, **patience)
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


class RedisClients:
    """A process's clients, one per database; on a cluster one for all. Opened when asked for.

    Parameters
    ----------
    connections
        Per database.
    """

    def __init__(self, url: str, *, connections: int) -> None:
        self._url, self._connections = url, connections
        self._clients: dict[int, redis.Redis] = {}
        self._cluster: bool | None = None

    def client(self, db: int) -> redis.Redis:
        """Return the client of a database; while Redis is away, one that finds it away."""
        if self._cluster is None:
            self._cluster = ask_whether_cluster(self._url)
            if self._cluster is None:
                return connect(self._url, db, connections=self._connections, cluster=False)
        at = 0 if self._cluster else db
        if at not in self._clients:
            self._clients[at] = connect(
                self._url, at, connections=self._connections, cluster=self._cluster
            )
        return self._clients[at]

    def close(self) -> None:
        """Let the connections go."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
