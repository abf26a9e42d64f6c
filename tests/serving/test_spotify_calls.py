"""Logging in at Spotify, refreshing from it and importing an export, over HTTP."""

import asyncio
import io
import json
import logging
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import redis
import sqlalchemy as sa
from cryptography.fernet import Fernet
from pydantic import SecretStr
from serving_world import PERSONAL, SECRET, Client, opened, register
from spotify_server import CLIENT_ID, SpotifyStandIn, limited, running, track

from features.settings import Settings
from serving import api, own_data
from serving.auth import issue_token

pytestmark = pytest.mark.anyio


@pytest.fixture
def spotify() -> Iterator[SpotifyStandIn]:
    with running() as stand_in:
        yield stand_in


@pytest.fixture
def with_spotify(settings: Settings, spotify: SpotifyStandIn) -> Settings:
    return settings.model_copy(
        update={
            "spotify_client_id": CLIENT_ID,
            "spotify_api_url": spotify.url,
            "spotify_accounts_url": spotify.url,
            "spotify_redirect_uri": "http://bondhu/spotify/callback",
            "bondhu_token_key": SecretStr(Fernet.generate_key().decode()),
        }
    )


async def log_in(client: Client, *, user: str = "ada") -> tuple[httpx.Response, str]:
    """Go where the browser goes; return the callback's answer and its address."""
    ticket = (await client.post("/v1/spotify/ticket", user=user)).json()
    login = await client.get(ticket["login_url"])
    assert login.status_code == 303, login.text
    async with httpx.AsyncClient() as browser:
        granted = await browser.get(login.headers["location"])
    back = granted.headers["location"]
    return await client.get(back), back


async def test_login_with_pkce_stores_an_encrypted_grant(
    with_spotify: Settings, engine: sa.Engine, spotify: SpotifyStandIn
) -> None:
    async with opened(with_spotify) as client:
        answer, back = await log_in(client)
        assert answer.status_code == 200, answer.text
        again = await client.get(back)
    assert again.status_code in (401, 403)  # a state is good once
    with engine.connect() as connection:
        row = connection.execute(sa.text("SELECT * FROM spotify_grants")).mappings().one()
    assert (row["user_id"], row["state"]) == ("ada", "active")
    (access,) = spotify.access - {"good-token"}
    assert access.encode() not in bytes(row["token"])


async def test_what_goes_wrong_at_login(with_spotify: Settings, redis_url: str) -> None:
    async with opened(with_spotify) as client:
        ticket = (await client.post("/v1/spotify/ticket")).json()
        login = await client.get(ticket["login_url"])
        assert (await client.get(ticket["login_url"])).status_code == 401  # good once
        assert (await client.get("/spotify/login")).status_code == 401
        state = parse_qs(urlsplit(login.headers["location"]).query)["state"][0]
        asked = parse_qs(urlsplit(login.headers["location"]).query)
        assert asked["code_challenge_method"] == ["S256"]
        forged = await client.get(f"/spotify/callback?code=forged&state={state}")
        assert forged.status_code == 502
        assert "log in again" in forged.json()["detail"]
        other = await client.get("/spotify/callback?code=x&state=of-somebody-else")
        assert other.status_code == 403
        with redis.Redis.from_url(redis_url, db=3) as kept:
            for key in kept.scan_iter("spotify:*"):
                assert b"ada" not in (kept.get(key) or b"")


async def test_without_credentials_it_says_what_is_missing(settings: Settings) -> None:
    async with opened(settings) as client:
        answer = await client.post("/v1/spotify/ticket")
        assert answer.status_code == 503
        assert "SPOTIFY_CLIENT_ID" in answer.json()["detail"]
        refreshed = (await client.post("/v1/history/refresh")).json()
        assert refreshed["state"] == "not_configured"


async def test_a_passed_token_refreshes_the_history(
    with_spotify: Settings, engine: sa.Engine, spotify: SpotifyStandIn
) -> None:
    async with opened(with_spotify) as client:
        first = (await client.post("/v1/history/refresh", {"spotify_token": "good-token"})).json()
        again = (await client.post("/v1/history/refresh", {"spotify_token": "good-token"})).json()
    assert (first["read"], first["stored"], first["state"]) == (50, 50, "fresh")
    assert again["stored"] == 0
    assert again["read"] == again["stored"] + sum(again["skipped"].values())
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text("SELECT DISTINCT source, trainable FROM plays WHERE source = 'spotify'")
        ).all()
        audio = connection.execute(
            sa.text("SELECT count(*), bool_or(trainable) FROM audio_features"
                    " WHERE source = 'spotify'")
        ).one()  # fmt: skip
        history = connection.scalar(
            sa.text("SELECT count(*) FROM listening_history WHERE track_id = :id"),
            {"id": track(60)["id"]},
        )
    assert rows == [("spotify", False)]
    assert audio[0] > 50
    assert not audio[1]
    assert history == 1


async def test_a_revoked_grant_is_said_and_lists_go_on(
    with_spotify: Settings, engine: sa.Engine, spotify: SpotifyStandIn
) -> None:
    async with opened(with_spotify) as client:
        await log_in(client)
        spotify.access.clear()
        spotify.refresh.clear()
        refreshed = (await client.post("/v1/history/refresh")).json()
        assert refreshed["state"] == "needs_reauth"
        assert "/spotify/login" in refreshed["detail"]
        listed = await client.recommend({"force_refresh": True})
        assert "needs_reauth" in listed["metadata"]["degraded"]
        assert len(listed["recommendations"]) == 50
    with engine.connect() as connection:
        row = connection.execute(sa.text("SELECT state, token FROM spotify_grants")).one()
    assert (row[0], bytes(row[1])) == ("needs_reauth", b"")


async def test_an_expired_token_in_a_list_call_is_said(with_spotify: Settings) -> None:
    async with opened(with_spotify) as client:
        listed = await client.recommend({"spotify_token": "expired", "force_refresh": True})
    assert "needs_reauth" in listed["metadata"]["degraded"]


async def test_a_long_limit_puts_the_refresh_off_and_it_is_taken_up(
    with_spotify: Settings, engine: sa.Engine, spotify: SpotifyStandIn
) -> None:
    spotify.fail("recently-played", limited("80000"))
    async with opened(with_spotify) as client:
        await log_in(client)
        refreshed = (await client.post("/v1/history/refresh")).json()
    assert refreshed["state"] == "postponed"
    assert refreshed["stored"] == 0
    with engine.connect() as connection:
        waiting = connection.execute(sa.text("SELECT user_id, kind FROM postponed_work")).all()
    assert waiting == [("ada", "history")]


async def send(client: Client, path: str, content: bytes) -> httpx.Response:
    """POST a body that is not JSON."""
    token = issue_token(SECRET, "ada", now=int(datetime.now(UTC).timestamp()))
    transport = httpx.ASGITransport(api.build(client.application))
    async with httpx.AsyncClient(transport=transport, base_url="http://bondhu") as caller:
        headers = {"Authorization": f"Bearer {token}"}
        return await caller.post(path, content=content, headers=headers)


def _zip(rows: list[dict[str, object]]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("Streaming_History_Audio_2020_0.json", json.dumps(rows))
    return packed.getvalue()


async def test_an_export_in_a_body(with_spotify: Settings, engine: sa.Engine) -> None:
    row = {
        "ts": "2020-01-01T10:00:00Z", "ms_played": 100_000, "ip_addr": "203.0.113.7",
        "master_metadata_track_name": "Song", "master_metadata_album_artist_name": "Ada",
        "spotify_track_uri": "spotify:track:4cOdK2wGLETKBW3PvgPWqT", "reason_end": "trackdone",
        "skipped": False, "incognito_mode": False,
    }  # fmt: skip
    async with opened(with_spotify) as client:
        answer = await send(client, "/v1/history/import", _zip([row, {}]))
        assert answer.status_code == 200, answer.text
        assert answer.json()["read"] == 2
        assert answer.json()["stored"] == 1
        broken = await send(client, "/v1/history/import", _zip([row])[:-30])
        assert broken.status_code == 422
        assert "bondhu-export" not in broken.text
        nothing = await send(client, "/v1/history/import", b"")
        assert nothing.status_code == 422
        unsure = await send(client, "/v1/history/import?consent=perhaps", _zip([row]))
        assert unsure.status_code == 422
    with engine.connect() as connection:
        trainable = connection.scalars(
            sa.text("SELECT trainable FROM plays WHERE source = 'spotify_export'")
        ).all()
    assert trainable == [False]


async def test_spotify_keeps_within_the_worker_s_connections(
    with_spotify: Settings, redis_url: str
) -> None:
    few = with_spotify.model_copy(update={"redis_max_connections": 6})
    with redis.Redis.from_url(redis_url) as direct:

        def connections() -> int:
            return int(direct.info("clients")["connected_clients"])

        before = connections()
        async with opened(few) as client:
            users = [f"listener-{n}" for n in range(4)]
            await log_in(client)
            token = {"spotify_token": "good-token"}
            refreshed = await asyncio.gather(
                *(client.post("/v1/history/refresh", token, user=user) for user in users)
            )
            assert [one.json()["state"] for one in refreshed] == ["fresh"] * 4
            await client.recommend(user=users[0])
            assert connections() - before <= 6
            assert client.application.cache.client(2).keys("spotify:api:{listener-0}:*")


@pytest.fixture
def novel(with_spotify: Settings, engine: sa.Engine, tmp_path: Path) -> Settings:
    """Spotify recommends twenty tracks, of which the catalogue has ten, that nobody else plays."""
    register(engine, tmp_path, 2, PERSONAL)  # novelty alone
    with engine.begin() as connection:
        for n in range(100, 110):
            connection.execute(
                sa.text(
                    "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, genres,"
                    " popularity, source, trainable)"
                    " VALUES (:id, :id, :id, :id, ARRAY['trap'], 0, 'spotify', false)"
                ),
                {"id": track(n)["id"]},
            )
    return with_spotify.model_copy(update={"bondhu_candidates_max": 100})


def near(listed: dict[str, Any]) -> set[str]:
    return {t["track_id"] for t in listed["recommendations"] if t["source"] == "spotify"}


async def test_what_spotify_recommends_joins_the_candidates(
    novel: Settings, spotify: SpotifyStandIn
) -> None:
    known = {track(n)["id"] for n in range(100, 110)}
    async with opened(novel) as client:
        before = await client.recommend()
        assert near(before) == set()
        with_token = await client.recommend({"spotify_token": "good-token", "force_refresh": True})
        assert near(with_token) == known
        assert with_token["metadata"]["total_candidates"] == 100
        assert with_token["metadata"]["degraded"] == before["metadata"]["degraded"]
        later = await client.recommend()  # no token: what was recommended is kept for 6 h
        assert near(later) == known
        genre = await client.recommend({"genre": "hard-rock"})
        assert near(genre) == set()
        asked = spotify.asked["recommendations"]
        await client.recommend({"spotify_token": "good-token", "force_refresh": True})
        assert spotify.asked["recommendations"] == asked
        assert client.application.cache.keys_of("ada").keys() >= {"near:{ada}"}
        assert client.application.cache.forget("ada")
        assert client.application.cache.near("ada") == []


async def test_lists_go_on_where_recommendations_are_closed(
    novel: Settings, spotify: SpotifyStandIn
) -> None:
    spotify.close("recommendations")
    async with opened(novel) as client:
        listed = await client.recommend({"spotify_token": "good-token", "force_refresh": True})
        again = await client.recommend({"spotify_token": "good-token", "force_refresh": True})
    assert near(listed) == near(again) == set()
    assert listed["total_count"] == 50
    assert spotify.asked["recommendations"] == 1  # then left alone, for days


async def test_a_slow_spotify_is_not_waited_for(novel: Settings, spotify: SpotifyStandIn) -> None:
    spotify.fail("recommendations", 3.0)
    async with opened(novel) as client:
        began = time.monotonic()
        listed = await client.recommend({"spotify_token": "good-token", "force_refresh": True})
        seconds = time.monotonic() - began
        assert near(listed) == set()
        assert "spotify_unavailable" in listed["metadata"]["degraded"]
        assert seconds < 3.0


async def test_seed_s_messages_about_spotify(
    with_spotify: Settings, spotify: SpotifyStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bondhu")
    async with opened(with_spotify) as client:
        await log_in(client)
        spotify.fail("recently-played", limited("1"))
        assert (await client.post("/v1/history/refresh")).json()["state"] == "fresh"
        await client.recommend()
    said = [record.getMessage() for record in caplog.records if record.name.startswith("bondhu")]
    assert "Spotify client initialized with user token" in said
    assert "Rate limited on endpoint, waiting 1s" in said
    assert "Using cached recently played tracks" in said
    assert not any("good-token" in line for line in said)


async def test_a_deletion_comes_after_the_refresh_that_is_under_way(
    with_spotify: Settings,
    spotify: SpotifyStandIn,
    engine: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spotify.fail("top-tracks", 1.0)
    async with opened(with_spotify) as client:
        refreshing = asyncio.create_task(
            client.post("/v1/history/refresh", {"spotify_token": "good-token"}, user="bob")
        )
        await asyncio.sleep(0.5)
        monkeypatch.setattr(own_data, "SETTLE_SECONDS", 0.01)
        early = await client.post("/v1/me/delete", user="bob")
        monkeypatch.setattr(own_data, "SETTLE_SECONDS", 5.0)
        receipt = await client.post("/v1/me/delete", user="bob")
        assert (await refreshing).json()["stored"] > 0
    assert (early.status_code, receipt.status_code) == (503, 200)
    assert early.headers["Retry-After"]
    assert receipt.json()["deleted"]["postgres"]["plays"] > 0
    with engine.connect() as connection:
        left = connection.scalar(sa.text("SELECT count(*) FROM users WHERE user_id = 'bob'"))
    assert left == 0
