"""A stand-in for Spotify: answers over HTTP as its documented Web API does, and as it misbehaves.

By default every endpoint works as for an application with extended quota. `fail` makes the next
answers of an endpoint go wrong; `close` refuses it for good, as Spotify does to newer applications.
"""

import base64
import hashlib
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

CLIENT_ID, CLIENT_SECRET = "the-client", "the-client-secret"


def track(number: int, **more: Any) -> dict[str, Any]:
    """A track object."""
    return {
        "id": f"track{number:017d}",
        "name": f"Song {number}",
        "type": "track",
        "artists": [{"id": f"artist{number % 7:016d}", "name": f"Artist {number % 7}"}],
        "album": {"id": f"album{number:017d}", "name": f"Album {number}", "release_date": "2019"},
        "duration_ms": 200_000,
        "explicit": False,
        "is_local": False,
        "popularity": 50,
        "external_ids": {"isrc": f"GBX{number:09d}"},
    } | more


def audio(track_id: str) -> dict[str, Any]:
    """An audio-features object."""
    return {
        "id": track_id, "danceability": 0.6, "energy": 0.7, "valence": 0.5, "tempo": 120.0,
        "acousticness": 0.1, "instrumentalness": 0.0, "speechiness": 0.05, "loudness": -7.0,
        "liveness": 0.1, "key": 5, "mode": 1, "time_signature": 4, "duration_ms": 200_000,
    }  # fmt: skip


class Broken(Response):
    """Promises more than it sends, and hangs up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"items": ['})


class SpotifyStandIn:
    """The server's state: what it knows, what it was asked, and what goes wrong next."""

    def __init__(self) -> None:
        self.url = ""
        self.recent: list[Any] = [
            {"track": track(n), "played_at": f"2026-05-01T{n // 15:02}:{4 * (n % 15):02}:00.000Z"}
            for n in range(1, 61)
        ]
        self.top = [track(n) for n in range(1, 61)]
        self.no_audio: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.batches: list[int] = []
        self.access = {"good-token"}
        self.refresh = {"refresh-0"}
        self.codes: dict[str, str] = {}
        self.token_errors: deque[Response] = deque()
        self._failures: dict[str, deque[Response | float]] = {}
        self._closed: dict[str, int] = {}

    def fail(self, endpoint: str, *answers: Response | float) -> None:
        """Let the next calls of an endpoint get these answers; a number is seconds of silence."""
        self._failures.setdefault(endpoint, deque()).extend(answers)

    def close(self, *endpoints: str, status: int = 403) -> None:
        """Refuse endpoints from now on."""
        self._closed |= dict.fromkeys(endpoints, status)

    def open(self, endpoint: str) -> None:
        """Let an endpoint work again."""
        self._closed.pop(endpoint, None)

    def _guard(self, request: Request, endpoint: str) -> Response | None:
        self.asked[endpoint] += 1
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        queue = self._failures.get(endpoint)
        if queue:
            failure = queue.popleft()
            if isinstance(failure, Response):
                return failure
            time.sleep(failure)
        if token not in self.access:
            return error(401, "The access token expired")
        if endpoint in self._closed:
            return error(self._closed[endpoint], "Forbidden")
        return None

    def recently_played(self, request: Request) -> Response:
        refused = self._guard(request, "recently-played")
        if refused:
            return refused
        limit = int(request.query_params.get("limit", 20))
        after = request.query_params.get("after")
        items = self.recent[-limit:]
        if after:
            items = [i for i in items if _ms(str(i["played_at"])) > int(after)]
        return JSONResponse({"items": items[::-1], "next": None, "limit": limit})

    def top_tracks(self, request: Request) -> Response:
        refused = self._guard(request, "top-tracks")
        limit = int(request.query_params.get("limit", 20))
        return refused or JSONResponse({"items": self.top[:limit], "total": len(self.top)})

    def top_artists(self, request: Request) -> Response:
        refused = self._guard(request, "top-artists")
        return refused or JSONResponse({"items": [artist(f"artist{n:016d}") for n in range(7)]})

    def audio_features(self, request: Request) -> Response:
        refused = self._guard(request, "audio-features")
        if refused:
            return refused
        ids = request.query_params["ids"].split(",")
        self.batches.append(len(ids))
        if len(ids) > 100:
            return error(400, "Too many ids requested")
        rows = [None if i in self.no_audio else audio(i) for i in ids]
        return JSONResponse({"audio_features": rows})

    def artists(self, request: Request) -> Response:
        refused = self._guard(request, "several-artists")
        if refused:
            return refused
        ids = request.query_params["ids"].split(",")
        self.batches.append(len(ids))
        if len(ids) > 50:
            return error(400, "Too many ids requested")
        return JSONResponse({"artists": [artist(i) for i in ids]})

    def artist(self, request: Request) -> Response:
        refused = self._guard(request, "artist")
        return refused or JSONResponse(artist(request.path_params["id"]))

    def recommendations(self, request: Request) -> Response:
        refused = self._guard(request, "recommendations")
        tracks = [track(n) for n in range(100, 120)]
        tracks.append(track(120, is_playable=False, restrictions={"reason": "market"}))
        return refused or JSONResponse({"tracks": [*tracks, None], "seeds": []})

    def new_releases(self, request: Request) -> Response:
        refused = self._guard(request, "new-releases")
        albums = [{"id": f"album{n:017d}", "name": f"New {n}"} for n in range(3)]
        return refused or JSONResponse({"albums": {"items": albums}})

    def album_tracks(self, request: Request) -> Response:
        refused = self._guard(request, "album-tracks")
        number = 200 + int(request.path_params["id"].removeprefix("album"))
        simple = track(number)
        del simple["album"], simple["popularity"], simple["external_ids"]
        return refused or JSONResponse({"items": [simple]})

    def search(self, request: Request) -> Response:
        refused = self._guard(request, "search")
        offset = int(request.query_params.get("offset", 0))
        items = [track(n) for n in range(300 + offset, min(310 + offset, 325))]
        return refused or JSONResponse({"tracks": {"items": items}})

    def authorize(self, request: Request) -> Response:
        asked = request.query_params
        if asked.get("client_id") != CLIENT_ID or asked.get("code_challenge_method") != "S256":
            return error(400, "invalid request")
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked["code_challenge"]
        return RedirectResponse(f"{asked['redirect_uri']}?code={code}&state={asked['state']}")

    async def token(self, request: Request) -> Response:
        self.asked["token"] += 1
        if self.token_errors:
            return self.token_errors.popleft()
        form = {k: v[0] for k, v in parse_qs((await request.body()).decode()).items()}
        refusal = None
        if form["grant_type"] == "client_credentials":
            pair = f"{CLIENT_ID}:{CLIENT_SECRET}".encode()
            wanted = "Basic " + base64.b64encode(pair).decode()
            if request.headers.get("authorization") != wanted:
                refusal = "invalid_client"
        elif form["grant_type"] == "authorization_code":
            challenge = self.codes.pop(form["code"], None)
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            if challenge != base64.urlsafe_b64encode(digest).decode().rstrip("="):
                refusal = "invalid_grant"
        elif form["refresh_token"] in self.refresh:
            self.refresh.remove(form["refresh_token"])  # with PKCE a refresh token works once
        else:
            refusal = "invalid_grant"
        if refusal:
            return JSONResponse({"error": refusal, "error_description": "no"}, 400)
        return self._issue(refresh=form["grant_type"] != "client_credentials")

    def _issue(self, *, refresh: bool) -> Response:
        token = f"access-{secrets.token_urlsafe(12)}"
        self.access.add(token)
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
        answer["scope"] = "user-read-recently-played user-top-read"
        if refresh:
            answer["refresh_token"] = f"refresh-{secrets.token_urlsafe(12)}"
            self.refresh.add(str(answer["refresh_token"]))
        return JSONResponse(answer)

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/me/player/recently-played", self.recently_played),
                Route("/v1/me/top/tracks", self.top_tracks),
                Route("/v1/me/top/artists", self.top_artists),
                Route("/v1/audio-features/", self.audio_features),
                Route("/v1/artists/", self.artists),
                Route("/v1/artists/{id}", self.artist),
                Route("/v1/recommendations", self.recommendations),
                Route("/v1/browse/new-releases", self.new_releases),
                Route("/v1/albums/{id}/tracks/", self.album_tracks),
                Route("/v1/search", self.search),
                Route("/authorize", self.authorize),
                Route("/api/token", self.token, methods=["POST"]),
            ]
        )


def artist(artist_id: str) -> dict[str, Any]:
    """An artist object."""
    genres = ["dance pop", "electropop"] if artist_id.endswith("1") else ["hip hop"]
    return {"id": artist_id, "name": f"Artist {artist_id[-1]}", "genres": genres}


def error(status: int, message: str, **headers: str) -> Response:
    """An error of the Web API."""
    content = {"error": {"status": status, "message": message}}
    return JSONResponse(content, status, headers=headers)


def limited(retry_after: str | None) -> Response:
    """429, with or without Retry-After."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Response("Too many requests", 429, headers=headers)


def nonsense() -> Response:
    """200, and no JSON."""
    return Response("<html>upstream", 200, media_type="application/json")


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@contextmanager
def running() -> Iterator[SpotifyStandIn]:
    """Lend a stand-in that listens on a port of its own."""
    stand_in = SpotifyStandIn()
    config = uvicorn.Config(
        stand_in.application(), host="127.0.0.1", port=0, log_level="critical", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    stand_in.url = f"http://127.0.0.1:{port}"
    try:
        yield stand_in
    finally:
        server.should_exit = True
        thread.join(timeout=5)
