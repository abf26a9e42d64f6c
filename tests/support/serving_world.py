"""A service in this process over real Postgres and Redis, and a program that calls it."""

import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import sqlalchemy as sa

from features.settings import Settings
from recommender.audio import FEATURES
from recommender.cold_start import Stage
from recommender.scoring import Scorer
from serving import api
from serving.application import Application
from serving.auth import issue_token
from serving.history import HistorySource

SECRET = "a secret of more than thirty-two bytes"


GENRES = (("dance-pop", "pop_anthems"), ("trap", "hype_beats"), ("hard-rock", "rock_legends"))


def make_world(engine: sa.Engine) -> None:
    """Make 300 tracks by 100 artists, and a listener 'ada' with a year of plays."""
    rng = np.random.default_rng(5)
    with engine.begin() as connection:
        for i in range(300):
            genre, category = GENRES[i % 3]
            connection.execute(
                sa.text(
                    "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, genres,"
                    " category, popularity, duration_ms, release_date, source, trainable)"
                    " VALUES (:id, :name, :artist, :artist, ARRAY[:genre], :category, :popularity,"
                    " 200000, '2020-01-01', 'test', true)"
                ),
                {
                    "id": f"track-{i:03}",
                    "name": f"Song {i}",
                    "artist": f"artist{i % 100}",
                    "genre": genre,
                    "category": category,
                    "popularity": int(rng.integers(0, 101)),
                },
            )
            values = rng.uniform(0.05, 0.95, len(FEATURES)).round(3)
            audio = dict(zip(FEATURES, values.tolist(), strict=True))
            audio["tempo"] = 60 + 140 * audio["tempo"]
            connection.execute(
                sa.text(
                    f"INSERT INTO audio_features (track_id, {', '.join(FEATURES)}, source,"
                    f" trainable) VALUES (:id, :{', :'.join(FEATURES)}, 'test', true)"
                ),
                {"id": f"track-{i:03}"} | audio,
            )
        connection.execute(
            sa.text("INSERT INTO users VALUES ('ada', now() - interval '400 days', 'test')")
        )
        for i in range(20):
            connection.execute(
                sa.text(
                    "SELECT upsert_listening_history('ada', :id,"
                    " now() - make_interval(days => :days), 180000, 'test')"
                ),
                {"id": f"track-{i:03}", "days": 10 + i},
            )
        connection.execute(
            sa.text("INSERT INTO feature_builds (tracks, artists, listeners) VALUES (300, 100, 1)")
        )


def register(
    engine: sa.Engine, folder: Path, version: int, scorer: Scorer, alias: str = "champion"
) -> None:
    """Register a scorer version under an alias, as MLflow's registry stores them."""
    artifacts = folder / f"m-{version}" / "artifacts"
    artifacts.mkdir(parents=True)
    content = scorer.to_json()
    (artifacts / "scorer.json").write_text(content)
    digest = hashlib.sha256(content.encode()).hexdigest()
    manifest = json.dumps({"scorer.json": digest})
    (artifacts / "manifest.json").write_text(manifest)
    with engine.begin() as connection:
        for statement in (
            "CREATE TABLE IF NOT EXISTS mlflow.model_versions"
            " (name text, version int, storage_location text)",
            "CREATE TABLE IF NOT EXISTS mlflow.model_version_tags"
            " (name text, version int, key text, value text)",
            "CREATE TABLE IF NOT EXISTS mlflow.registered_model_aliases"
            " (alias text, version int, name text, PRIMARY KEY (name, alias))",
        ):
            connection.execute(sa.text(statement))
        connection.execute(
            sa.text("INSERT INTO mlflow.model_versions VALUES ('scorer', :version, :location)"),
            {"version": version, "location": str(artifacts.parent)},
        )
        connection.execute(
            sa.text(
                "INSERT INTO mlflow.model_version_tags"
                " VALUES ('scorer', :version, 'manifest_sha256', :hash)"
            ),
            {"version": version, "hash": hashlib.sha256(manifest.encode()).hexdigest()},
        )
        connection.execute(
            sa.text(
                "INSERT INTO mlflow.registered_model_aliases VALUES (:alias, :version,"
                " 'scorer') ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version"
            ),
            {"version": version, "alias": alias},
        )


PERSONAL = Scorer.of(
    {
        stage: {"personality": 1.0} if stage is not Stage.MONTH_2_PLUS else {"novelty": 1.0}
        for stage in Stage
    }
)


class Client:
    """A program that calls the service."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(api.build(application)), base_url="http://bondhu"
        )

    async def post(
        self, path: str, body: Any = None, *, user: str = "ada", **headers: str
    ) -> httpx.Response:
        bearer = {"Authorization": f"Bearer {self.token(user)}"}
        return await self._http.post(path, json=body or {}, headers=bearer | headers)

    async def ask_as_admin(self, path: str, body: Any = None) -> httpx.Response:
        bearer = f"Bearer {self.token('operator', admin=True)}"
        return await self.post(path, body, Authorization=bearer)

    def token(self, user: str = "ada", *, admin: bool = False) -> str:
        return issue_token(SECRET, user, now=int(datetime.now(UTC).timestamp()), admin=admin)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self._http.get(path, headers=headers)

    async def recommend(self, body: Any = None, *, user: str = "ada") -> dict[str, Any]:
        answer = await self.post("/v1/recommend", body, user=user)
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    async def say(self, track_id: str, kind: str, *, user: str = "ada", **more: Any) -> Any:
        body = {"event_id": str(uuid.uuid4()), "track_id": track_id, "feedback_type": kind} | more
        answer = await self.post("/v1/feedback", body, user=user)
        assert answer.status_code in (200, 202), answer.text
        return answer.json()


@asynccontextmanager
async def opened(settings: Settings, history: HistorySource | None = None) -> AsyncIterator[Client]:
    application = Application(settings, history=history)
    await application.open()
    try:
        yield Client(application)
    finally:
        await application.close()
