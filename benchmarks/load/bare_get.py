"""A floor: bare uvicorn that answers every request with one Redis GET of the same bytes."""

import os

import redis.asyncio
from starlette.types import Receive, Scope, Send

KEY = "bench:bare"

_client: list[redis.asyncio.Redis] = []


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    if not _client:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            os.environ["REDIS_URL"], max_connections=32
        )
        _client.append(redis.asyncio.Redis(connection_pool=pool))
    found = await _client[0].get(KEY)
    content = found if isinstance(found, bytes) else b""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
