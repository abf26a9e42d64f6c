"""Postgres is stopped and started under a running service: acknowledged feedback survives."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from serving_world import SECRET, opened, register

from features.database import connect
from features.migrations import migrate
from features.settings import Settings
from pipelines.servers import Postgres
from recommender.scoring import PRIOR
from serving.feedback import Received
from serving.journal import Journal
from serving.problems import ServiceProblem
from serving.schemas import FeedbackRequest

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def fill(url: str, folder: Path) -> None:
    engine = connect(url)
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, popularity,"
                " source, trainable) SELECT 't' || i, 'T' || i, 'A' || i, 'a' || i, i, 'test', true"
                " FROM generate_series(1, 60) i"
            )
        )
    register(engine, folder, 1, PRIOR)
    engine.dispose()


def body() -> dict[str, Any]:
    return {"event_id": str(uuid.uuid4()), "track_id": "t7", "feedback_type": "like"}


@pytest.mark.parametrize("journal", [True, False])
async def test_feedback_is_journalled_then_told(
    tmp_path: Path, redis_url: str, journal: bool
) -> None:
    postgres = Postgres(tmp_path / "home")
    postgres.start()
    try:
        fill(postgres.url, tmp_path)
        settings = Settings(
            database_url=postgres.url,
            redis_url=redis_url,
            bondhu_jwt_secret=SecretStr(SECRET),
            bondhu_home=tmp_path / "home",
            bondhu_journal=journal,
        )
        async with opened(settings) as client:
            listed = await client.recommend()
            postgres.stop()
            cached = await client.recommend()
            missed = await client.post("/v1/recommend", {"force_refresh": True})
            event = body()
            answer = await client.post("/v1/feedback", event)
            again = await client.post("/v1/feedback", event)
            unknown = await client.post("/v1/feedback", body() | {"track_id": "nothing"})
            postgres.start()
            client.application._house_keep()
            told = await client.post("/v1/feedback", event)
            changed = await client.recommend()
    finally:
        postgres.stop()
    assert cached["recommendations"] == listed["recommendations"]
    assert missed.status_code == 503
    assert missed.headers["Retry-After"]
    if journal:
        assert (answer.status_code, again.status_code, unknown.status_code) == (202, 202, 404)
        assert answer.json()["reward"] is None
        assert told.json()["duplicate"] is True
        assert told.json()["reward"] == pytest.approx(1.0)
        assert "t7" not in [track["track_id"] for track in changed["recommendations"]]
    else:
        assert (answer.status_code, unknown.status_code) == (503, 404)
        assert told.json()["duplicate"] is False


async def test_a_damaged_line_does_not_stop_the_others(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    received = [
        Received(
            user_id=f"user-{i}",
            received_at=datetime(2026, 1, 1, tzinfo=UTC),
            request=FeedbackRequest(event_id=uuid.uuid4(), track_id="t", feedback_type="like"),
        )
        for i in range(3)
    ]
    journal.append(received[0])
    with (tmp_path / "feedback.jsonl").open("ab") as file:
        file.write(b'{"user_id": "half a li\n')
    journal.append(received[1])
    journal.append(received[2])
    heard = []

    def accept(one: Received) -> None:
        if one.user_id == "user-1":
            raise ServiceProblem(404, "its track has gone")
        heard.append(one)

    assert journal.tell(accept, refused=(ServiceProblem,)) == 2
    assert heard == [received[0], received[2]]
    assert journal.is_empty()
    assert len((tmp_path / "refused.jsonl").read_text().splitlines()) == 2

    journal.append(received[0])

    def away(_: Received) -> None:
        raise ConnectionError("Postgres is away again")

    with pytest.raises(ConnectionError):
        journal.tell(away, refused=(ServiceProblem,))
    assert not journal.is_empty()
