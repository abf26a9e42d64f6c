"""The way in: who calls, whether the limit lets them, and what they sent."""

import math
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from serving.acting import ActingLog
from serving.auth import USER_HEADER, Authenticator, Caller
from serving.cache import AsyncEdgeCache, Lookup
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

    async def who(self, request: Request) -> Caller:
        """Return who calls and for whom; a backend that acts for a listener is written down."""
        caller = await self._authenticator.authenticate(
            request.headers.get("authorization"), request.headers.get(USER_HEADER)
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
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > largest:
                raise ServiceProblem(413, f"a body may hold {largest} bytes at most")
        try:
            return msgspec.json.decode(bytes(content) or b"{}", type=type_)
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
        headers = self._headers(looked_up)
        request.state.limit_headers = headers
        if not looked_up.allowed:
            LIMITED.labels("redis" if found else "local").inc()
            seconds = headers["X-RateLimit-Reset"]
            raise ServiceProblem(
                429,
                f"more than {limit} calls a minute: the next is free in {seconds} seconds",
                {"Retry-After": seconds},
            )
        return looked_up.value, found is None

    def _headers(self, looked_up: Lookup) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self._limit),
            "X-RateLimit-Remaining": str(looked_up.remaining),
            "X-RateLimit-Reset": str(math.ceil(looked_up.reset_ms / 1000)),
        }


def json_response(answer: msgspec.Struct, status: int = 200) -> Response:
    """Return a struct as a response."""
    return Response(msgspec.json.encode(answer), status, media_type="application/json")
