"""What the calls about Spotify say and are told, and what they need of the rest of the service."""

from datetime import datetime
from typing import Annotated, Protocol, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from serving.auth import Caller

T = TypeVar("T")


class Ticket(msgspec.Struct, frozen=True):
    """The answer of POST /v1/spotify/ticket."""

    ticket: str
    login_url: str
    expires_in_seconds: int


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body without fields."""


class RefreshRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/history/refresh."""

    spotify_token: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None


class ImportResponse(msgspec.Struct, kw_only=True, frozen=True):
    """What became of what was read: read = stored + the sum of skipped.

    `state`: fresh, needs_reauth, postponed or not_configured; served from what is stored meanwhile.
    """

    read: int
    stored: int
    skipped: dict[str, int]
    notes: list[str] = []
    state: str = "fresh"
    detail: str = ""
    without: dict[str, str] = {}
    not_before: datetime | None = None


class Desk(Protocol):
    """What serves every call of /v1: who calls, whether they may, and the answer's form."""

    async def caller(self, request: Request) -> Caller:
        """Return who calls, counted against the limit; the body stays unread."""
        ...

    async def read(self, request: Request, type_: type[T]) -> tuple[Caller, T]:
        """Return who calls and what was sent, counted against the limit."""
        ...

    def answer(self, request: Request, answer: msgspec.Struct) -> Response:
        """Return a struct as a response."""
        ...
