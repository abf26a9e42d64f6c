"""The world that the service is measured in: real tracks and listeners, and two scorer versions."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from features.build import build_features
from features.settings import read_settings
from features.sources.catalogue import import_catalogue
from features.sources.lastfm import import_lastfm
from features.sources.world import build_world
from recommender.scoring import PRIOR, Scorer

MANIFEST, FILES = "manifest.json", "artifacts"


def fill(engine: sa.Engine) -> list[str]:
    """Import BONDHU_DATA, or the built-in world without it; return listeners with a history."""
    data, now = read_settings().bondhu_data, datetime.now(UTC)
    if data is None:
        build_world(engine, now=now)
    else:
        import_catalogue(engine, data, now=now)
        import_lastfm(engine, data, now=now)
    build_features(engine, now=now)
    with engine.connect() as connection:
        return list(
            connection.scalars(
                sa.text(
                    "SELECT user_id FROM (SELECT user_id FROM artist_plays UNION"
                    " SELECT user_id FROM plays) listeners ORDER BY md5(user_id)"
                )
            )
        )


def register(engine: sa.Engine, folder: Path, versions: int = 2) -> None:
    """Register equal scorers under several versions, in tables laid out as MLflow's."""
    with engine.begin() as connection:
        for statement in (
            "CREATE SCHEMA IF NOT EXISTS mlflow",
            "CREATE TABLE mlflow.model_versions (name text, version int, storage_location text)",
            "CREATE TABLE mlflow.model_version_tags (name text, version int, key text, value text)",
            "CREATE TABLE mlflow.registered_model_aliases (alias text, version int, name text)",
            "INSERT INTO mlflow.registered_model_aliases VALUES ('champion', 1, 'scorer')",
        ):
            connection.execute(sa.text(statement))
        for version in range(1, versions + 1):
            place = folder / f"scorer-{version}"
            digest = _write(place / FILES, PRIOR)
            connection.execute(
                sa.text("INSERT INTO mlflow.model_versions VALUES ('scorer', :v, :place)"),
                {"v": version, "place": str(place)},
            )
            connection.execute(
                sa.text(
                    "INSERT INTO mlflow.model_version_tags"
                    " VALUES ('scorer', :v, 'manifest_sha256', :digest)"
                ),
                {"v": version, "digest": digest},
            )


def swap(engine: sa.Engine) -> None:
    """Let the other version be champion."""
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE mlflow.registered_model_aliases SET version = 3 - version")
        )


def _write(folder: Path, scorer: Scorer) -> str:
    folder.mkdir(parents=True)
    hashes = {}
    for name, content in scorer.to_files().items():
        (folder / name).write_bytes(content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    manifest = json.dumps(hashes).encode()
    (folder / MANIFEST).write_bytes(manifest)
    return hashlib.sha256(manifest).hexdigest()
