"""Spotify over HTTP: logging in there, refreshing a history from it, and importing an export.

A browser cannot send a bearer token with a link: /v1/spotify/ticket gives the listener a ticket,
good once and for 60 s, for /spotify/login. What goes around with the browser is a state that is
good once, bound to a cookie, and tells nothing; who it is for and the PKCE verifier stay in Redis,
encrypted. spotipy and requests are imported when the first listener needs them.
"""

import asyncio
import hashlib
import html
import logging
import secrets
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import redis
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from features.imports import InputError
from features.settings import Settings
from serving.metrics import DEGRADED
from serving.problems import ServiceProblem, unavailable
from serving.spotify_history import REFRESH_SECONDS, SpotifyHistory
from serving.spotify_shapes import Desk, ImportResponse, Nothing, RefreshRequest, Ticket
from serving.surface import Route

TICKET_SECONDS, STATE_SECONDS = 60, 600
COOKIE = "bondhu_spotify"
LARGEST_EXPORT = 100_000_000
LOGINS_DB = 3

log = logging.getLogger("bondhu.spotify")


class _Login(msgspec.Struct, frozen=True):
    user_id: str
    verifier: str


class SpotifyCalls:
    """The calls about Spotify."""

    def __init__(
        self,
        settings: Settings,
        history: SpotifyHistory,
        desk: Desk,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._engine = history.engine
        self._history = history
        self._desk = desk
        self._now = now
        self._imports = asyncio.Semaphore(1)  # an import takes a core for seconds

    def calls(self) -> list[Route]:
        """Return the table of the calls about Spotify."""
        refused = (401, 403, 413, 422, 429, 503)
        return [
            Route(
                "/v1/spotify/ticket",
                self.ticket,
                "A ticket for /spotify/login, good once and for 60 s",
                request=Nothing,
                response=Ticket,
                statuses=refused,
                takes_nothing=True,
            ),
            Route(
                "/v1/history/refresh",
                self.refresh,
                "Bring the history up to date from Spotify, by a token or the stored grant",
                request=RefreshRequest,
                response=ImportResponse,
                statuses=refused,
                takes_nothing=True,
            ),
            Route(
                "/v1/history/import",
                self.take_export,
                "Import the listener's own Spotify export: the zip is the body",
                response=ImportResponse,
                statuses=refused,
            ),
            Route(
                "/spotify/login",
                self.login,
                "Send the listener's browser to Spotify; needs a ticket",
                method="GET",
                statuses=(303, 401, 503),
                needs_token=False,
                media_type="text/html",
            ),
            Route(
                "/spotify/callback",
                self.callback,
                "Where Spotify sends the listener's browser back to",
                method="GET",
                statuses=(401, 403, 502, 503),
                needs_token=False,
                media_type="text/html",
            ),
        ]

    async def ticket(self, request: Request) -> Response:
        """POST /v1/spotify/ticket."""
        caller, _ = await self._desk.read(request, Nothing)
        self._configured()
        ticket = secrets.token_urlsafe(24)
        await self._remember("ticket", ticket, caller.user_id.encode(), TICKET_SECONDS)
        answer = Ticket(ticket, f"/spotify/login?ticket={ticket}", TICKET_SECONDS)
        return self._desk.answer(request, answer)

    async def login(self, request: Request) -> Response:
        """GET /spotify/login."""
        self._configured()
        found = await self._recall("ticket", request.query_params.get("ticket", ""))
        if found is None:
            raise ServiceProblem(
                401, "the ticket is used or older than 60 s: ask /v1/spotify/ticket for another"
            )
        from features.sources import spotify_auth  # noqa: PLC0415 - 0.5 s
        from features.sources.spotify_transport import Patience  # noqa: PLC0415 - 0.5 s

        state, verifier = secrets.token_urlsafe(24), spotify_auth.new_verifier()
        waiting = msgspec.json.encode(_Login(found.decode(), verifier))
        await self._remember("state", state, waiting, STATE_SECONDS)
        session = self._history.access().session(Patience(REFRESH_SECONDS))
        flow = spotify_auth.pkce(self._settings, session)
        answer = RedirectResponse(
            spotify_auth.authorize_url(flow, state=state, verifier=verifier), 303
        )
        answer.set_cookie(
            COOKIE,
            _digest(state),
            max_age=STATE_SECONDS,
            path="/spotify/callback",
            secure=self._settings.spotify_redirect_uri.startswith("https:"),
            httponly=True,
            samesite="lax",
        )
        return _private(answer)

    async def callback(self, request: Request) -> Response:
        """GET /spotify/callback."""
        self._configured()
        state = request.query_params.get("state", "")
        if not secrets.compare_digest(request.cookies.get(COOKIE, ""), _digest(state)):
            raise ServiceProblem(403, "this login began in another browser: begin it again")
        found = await self._recall("state", state)
        if found is None:
            raise ServiceProblem(401, "this login is over or older than 10 minutes: begin it again")
        waiting = msgspec.json.decode(found, type=_Login)
        code = request.query_params.get("code")
        if not code:
            return _page("Spotify was not connected: access was not granted.", 200)
        await asyncio.to_thread(self._redeem, waiting, code[:2048])
        answer = _page("Spotify is connected. You can close this page.", 200)
        answer.delete_cookie(COOKIE, path="/spotify/callback")
        return answer

    async def refresh(self, request: Request) -> Response:
        """POST /v1/history/refresh."""
        caller, body = await self._desk.read(request, RefreshRequest)
        try:
            async with asyncio.timeout(REFRESH_SECONDS + 2):
                refreshed = await self._history.bring_up_to_date(
                    caller.user_id, token=body.spotify_token
                )
        except TimeoutError:
            raise ServiceProblem(
                503, "Spotify is slow: the refresh goes on by itself", {"Retry-After": "30"}
            ) from None
        except (OperationalError, PoolTimeoutError):
            raise unavailable("the listeners' database") from None
        report = refreshed.report
        answer = ImportResponse(
            read=report.read,
            stored=report.stored,
            skipped=dict(report.skipped),
            notes=list(report.notes),
            state=refreshed.state.value,
            detail=refreshed.message,
            without=dict(refreshed.without),
            not_before=refreshed.not_before,
        )
        return self._desk.answer(request, answer)

    async def take_export(self, request: Request) -> Response:
        """POST /v1/history/import?consent=false: the body is the zip as Spotify sends it."""
        caller = await self._desk.caller(request)
        word = request.query_params.get("consent", "false").lower()
        if word not in ("true", "false"):
            raise ServiceProblem(422, "consent is true or false: may models be trained on it?")
        with tempfile.NamedTemporaryFile(prefix="bondhu-export-", suffix=_suffix(request)) as file:
            size = 0
            async for chunk in request.stream():
                size += len(chunk)
                if size > LARGEST_EXPORT:
                    raise ServiceProblem(
                        413, f"an export may hold {LARGEST_EXPORT} bytes; import it on the machine"
                    )
                await asyncio.to_thread(file.write, chunk)
            if not size:
                raise ServiceProblem(422, "send the export's zip as the body")
            file.flush()
            async with self._imports:
                answer = await asyncio.to_thread(
                    self._import, caller.user_id, Path(file.name), consent=word == "true"
                )
        return self._desk.answer(request, answer)

    def _import(self, user_id: str, path: Path, *, consent: bool) -> ImportResponse:
        from features.sources.spotify_export import (  # noqa: PLC0415 - few callers need it
            import_spotify_export,
        )

        try:
            report = import_spotify_export(
                self._engine, path, user_id=user_id, consent=consent, now=self._now()
            )
        except InputError as error:
            raise ServiceProblem(422, str(error).replace(str(path), "the export")) from None
        except (OperationalError, PoolTimeoutError):
            raise unavailable("the listeners' database") from None
        if report.stored:
            self._history.outdate(user_id)
        return ImportResponse(
            read=report.read,
            stored=report.stored,
            skipped=dict(report.skipped),
            notes=list(report.notes),
        )

    def _redeem(self, waiting: _Login, code: str) -> None:
        from features.sources import spotify_auth, spotify_grants  # noqa: PLC0415 - 0.5 s
        from features.sources.errors import SourceError  # noqa: PLC0415 - with them
        from features.sources.spotify_transport import Patience  # noqa: PLC0415 - 0.5 s
        from features.users import ensure_user  # noqa: PLC0415 - with them

        access = self._history.access()
        try:
            flow = spotify_auth.pkce(self._settings, access.session(Patience(REFRESH_SECONDS)))
            token, scope = spotify_auth.redeem(flow, code=code, verifier=waiting.verifier)
        except SourceError as error:
            raise ServiceProblem(502, str(error)) from None
        now = self._now()
        with self._engine.begin() as connection:
            ensure_user(connection, waiting.user_id, source="api", now=now)
            spotify_grants.save_grant(
                connection, access.vault(), waiting.user_id, token, scope, now=now
            )

    def _configured(self) -> None:
        if not self._settings.spotify_client_id or self._settings.bondhu_token_key is None:
            raise ServiceProblem(
                503,
                "logging in at Spotify is not set up here: it needs SPOTIFY_CLIENT_ID and"
                " BONDHU_TOKEN_KEY; importing an export needs neither",
                {"Retry-After": "3600"},
            )

    async def _remember(self, kind: str, name: str, value: bytes, seconds: int) -> None:
        sealed = self._fernet().encrypt(value)
        await self._redis(lambda r: r.set(f"spotify:{kind}:{_digest(name)}", sealed, ex=seconds))

    async def _recall(self, kind: str, name: str) -> bytes | None:
        """Return what was remembered, once."""
        found = await self._redis(lambda r: r.getdel(f"spotify:{kind}:{_digest(name)}"))
        if not isinstance(found, bytes):
            return None
        try:
            return self._fernet().decrypt(found)
        except InvalidToken:  # the keys were changed meanwhile
            return None

    def _fernet(self) -> MultiFernet:
        assert self._settings.bondhu_token_key is not None  # noqa: S101 - _configured has looked
        keys = self._settings.bondhu_token_key.get_secret_value().split(",")
        return MultiFernet([Fernet(key.strip()) for key in keys])

    async def _redis(self, command: Callable[[redis.Redis], Any]) -> Any:
        try:
            return await asyncio.to_thread(lambda: command(self._history.redis(LOGINS_DB)))
        except redis.RedisError:
            DEGRADED.labels("redis").inc()
            raise unavailable("the memory of logins") from None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _suffix(request: Request) -> str:
    is_json = request.headers.get("content-type", "").startswith("application/json")
    return ".json" if is_json else ".zip"


def _page(text: str, status: int) -> Response:
    return _private(
        HTMLResponse(f"<!doctype html><title>Bondhu</title><p>{html.escape(text)}</p>", status)
    )


def _private(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer
