"""The way in: who calls, whether the limit lets them, and what they sent."""

import math
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving.acting import ActingLog
from serving.auth import USER_HEADER, Authenticator, Caller
from serving.edge_cache import AsyncEdgeCache
from serving.headers import header
from serving.metrics import LIMITED
from serving.problems import ServiceProblem
from serving.rate_limit import LocalLimit

LARGEST_BODY = 1_000_000

T = TypeVar("T")


class Admission:
    """Lets calls in, one after the other.

    Parameters
    ----------
    limit
        Calls a minute per listener.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        edge_cache: AsyncEdgeCache,
        local_limit: LocalLimit,
        acting: ActingLog,
        *,
        limit: int,
    ) -> None:
        self._authenticator = authenticator
        self._edge_cache = edge_cache
        self._local_limit = local_limit
        self._acting = acting
        self._limit = limit
        self._limit_header = str(limit).encode()

    async def who(self, request: Request) -> Caller:
        """Return who calls and for whom; a backend that acts for a listener is written down."""
        caller = await self._authenticator.authenticate(
            header(request.scope, b"authorization"), header(request.scope, USER_HEADER)
        )
        if caller.acting is not None:
            self._acting.add(caller.acting, caller.user_id, request.url.path)
        return caller

    async def read(
        self, request: Request, type_: type[T], *, largest: int = LARGEST_BODY
    ) -> tuple[Caller, T]:
        """Return who calls and what was sent, counted against the limit."""
        caller = await self.caller(request)
        return caller, await self.body(request, type_, largest=largest)

    async def caller(self, request: Request) -> Caller:
        """Return who calls, counted against the limit; the body stays unread."""
        caller = await self.who(request)
        await self.admit(request, caller)
        return caller

    def answer(self, _: Request, answer: msgspec.Struct) -> Response:
        """Return a struct as a response; the limit's headers are added on its way out."""
        return json_response(answer)

    async def body(self, request: Request, type_: type[T], *, largest: int = LARGEST_BODY) -> T:
        """Return what was sent.

        Raises
        ------
        ServiceProblem
            413 if it is too large, 422 if it is not of this type.
        """
        content, is_over = b"", False
        while not is_over:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            content += message.get("body", b"")
            is_over = not message.get("more_body", False)
            if len(content) > largest:
                raise ServiceProblem(413, f"a body may hold {largest} bytes at most")
        try:
            return msgspec.json.decode(content or b"{}", type=type_)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ServiceProblem(422, f"the body is not as /docs.json says: {error}") from None

    async def admit(
        self, request: Request, caller: Caller, field: str = ""
    ) -> tuple[bytes | None, bool]:
        """Count a call; return the list at `field`, if any, and whether Redis is down.

        The limit's headers come with the answer, whatever it will be.

        Raises
        ------
        ServiceProblem
            429 beyond the limit.
        """
        limit = self._limit
        found = await self._edge_cache.look_up(caller.user_id, limit=limit, field=field)
        looked_up = found or self._local_limit.look_up(caller.user_id, limit=limit)
        seconds = str(math.ceil(looked_up.reset_ms / 1000))
        request.scope["state"]["limit_headers"] = (
            (b"x-ratelimit-limit", self._limit_header),
            (b"x-ratelimit-remaining", str(looked_up.remaining).encode()),
            (b"x-ratelimit-reset", seconds.encode()),
        )
        if not looked_up.allowed:
            LIMITED.labels("redis" if found else "local").inc()
            raise ServiceProblem(
                429,
                f"more than {limit} calls a minute: the next is free in {seconds} seconds",
                {"Retry-After": seconds},
            )
        return looked_up.value, found is None


class JsonBytes(Response):
    """JSON that is bytes already, with no work done on its headers."""

    def __init__(self, content: bytes, status: int = 200) -> None:
        self.status_code = status
        self.background = None
        self.body = content
        self.raw_headers = [
            (b"content-length", str(len(content)).encode()),
            (b"content-type", b"application/json"),
        ]


def json_response(answer: msgspec.Struct, status: int = 200) -> Response:
    """Return a struct as a response."""
    return JsonBytes(msgspec.json.encode(answer), status)
