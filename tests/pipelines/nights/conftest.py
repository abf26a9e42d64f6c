"""A night's surroundings: the servers of the tests, and artifacts of its own."""

import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from serving_world import SECRET

import pipelines.environment
from features import nights
from features.database import mlflow_uri
from features.settings import Settings
from pipelines.environment import Environment

Outcome = nights.Outcome


@pytest.fixture
def environment(
    engine: sa.Engine,
    database_url: str,
    mlflow_tables: None,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Environment:
    monkeypatch.setattr(pipelines.environment, "ARTIFACTS", tmp_path / "mlruns")
    uri = f"{mlflow_uri(database_url)}&application_name={uuid.uuid4().hex}"
    settings = Settings(
        bondhu_home=tmp_path,
        database_url=database_url,
        redis_url=redis_url,
        mlflow_tracking_uri=uri,
        bondhu_jwt_secret=SecretStr(SECRET),
    )
    return Environment(settings, database_url, redis_url, uri, engine)
