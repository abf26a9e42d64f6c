"""Two services of two workers each share nothing but Postgres and Redis, and are one service."""

import concurrent.futures
import os
import socket
import time
import uuid
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa
from serving_world import PERSONAL, SECRET, make_world, register

from features.settings import Settings
from pipelines.serving_process import serving
from recommender.replay import replay_log
from recommender.scoring import PRIOR
from serving.auth import issue_token

LIMIT = 60


class Caller:
    """Calls that go to both services in turn, each over a connection of its own."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses
        self._calls = 0

    def post(self, path: str, body: Any = None, *, user: str) -> httpx.Response:
        self._calls += 1
        address = self._addresses[self._calls % len(self._addresses)]
        token = issue_token(SECRET, user, now=int(time.time()))
        headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
        return httpx.post(f"{address}{path}", json=body or {}, headers=headers, timeout=10)

    def like(self, track_id: str, user: str) -> dict[str, Any]:
        body = {"event_id": str(uuid.uuid4()), "track_id": track_id, "feedback_type": "like"}
        answer: dict[str, Any] = self.post("/v1/feedback", body, user=user).json()
        return answer


@pytest.fixture
def engine_with_world(engine: sa.Engine) -> sa.Engine:
    make_world(engine)
    return engine


def free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as two:
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], two.getsockname()[1]]


def test_two_services_of_two_workers(
    engine_with_world: sa.Engine, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    world = engine_with_world
    register(world, tmp_path, 1, PRIOR)
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "MLFLOW_TRACKING_URI": "",
        "BONDHU_JWT_SECRET": SECRET,
        "BONDHU_EXPLORATION": "0",
        "USER_RATE_LIMIT": str(LIMIT),
        "REDIS_MAX_CONNECTIONS": "48",
    }
    ports = free_ports()
    with ExitStack() as running, concurrent.futures.ThreadPoolExecutor(8) as threads:
        started = [
            threads.submit(
                running.enter_context,
                serving(
                    environment | {"BONDHU_HOME": str(tmp_path / f"home-{port}")},
                    host="127.0.0.1",
                    port=port,
                    workers=2,
                ),
            )
            for port in ports
        ]
        processes = [one.result() for one in started]
        for process in processes:
            below = psutil.Process(process.pid).children(recursive=True)
            workers = [p for p in below if any("serving.service" in w for w in p.cmdline())]
            assert len(workers) == 2
        caller = Caller([f"http://127.0.0.1:{port}" for port in ports])

        # Limits: to the call.
        answers = list(
            threads.map(lambda _: caller.post("/v1/me", user="limited"), range(LIMIT + 20))
        )
        assert Counter(a.status_code for a in answers) == {200: LIMIT, 429: 20}
        remaining = sorted(int(a.headers["X-RateLimit-Remaining"]) for a in answers)
        assert remaining == [0] * 20 + list(range(LIMIT))

        # Caches and turns: one list, computed once, for all.
        lists = [
            a.json()
            for a in threads.map(lambda _: caller.post("/v1/recommend", user="ada"), range(16))
        ]
        assert len({one["recommendation_id"] for one in lists}) == 1
        assert Counter(one["metadata"]["cache"] for one in lists) == {"miss": 1, "hit": 15}

        # Q-updates: concurrent feedback at all workers loses nothing.
        tracks = [f"track-{i:03}" for i in range(100, 124)]
        said = list(threads.map(lambda track: caller.like(track, "bob"), tracks))
        with world.connect() as connection:
            log = connection.execute(
                sa.text(
                    "SELECT state, reward, q_value FROM music_interactions WHERE user_id = 'bob'"
                    " ORDER BY episode"
                )
            ).all()
        assert len(log) == len(said) == 24
        table = replay_log("bob", [(row.state, row.reward) for row in log])
        assert log[-1].q_value == pytest.approx(table[log[-1].state], abs=1e-12)
        shown = [caller.post("/v1/recommend", user="bob").json() for _ in range(8)]
        assert shown[0]["metadata"]["cache"] == "miss"
        assert {one["recommendation_id"] for one in shown} == {shown[0]["recommendation_id"]}
        assert any(track["rl_adjustment"] > 0 for track in shown[0]["recommendations"])

        # Swaps: every worker takes the new champion over, and no call fails meanwhile.
        register(world, tmp_path, 2, PERSONAL)
        seen: list[int] = []
        for at in range(200):
            answer = caller.post("/v1/recommend", user=f"user-{at}")
            assert answer.status_code == 200, answer.text
            seen.append(answer.json()["metadata"]["models"]["scorer"])
            if seen[-12:] == [2] * 12:
                break
            time.sleep(0.05)
        assert seen[-12:] == [2] * 12


def test_settings_of_a_scaled_service_leave_connections_for_each() -> None:
    settings = Settings(database_url="postgresql://x/y", redis_url="redis://x")
    assert settings.redis_share(4) >= 1
