"""The world that the service is measured in: real tracks and listeners, and what serves them.

A co-listening model of these listeners is served, a scorer that weighs it, under two versions, and
a consolidated table of what others said: explored positions are drawn as they are by default.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from benchmarks.generated.feedback import KIND, said
from features.assessments import save_assessment
from features.build import build_features
from features.settings import read_settings
from features.sources.catalogue import import_catalogue
from features.sources.lastfm import import_lastfm
from features.sources.world import build_world
from features.users import ensure_user
from recommender.cold_start import Stage
from recommender.personality import TRAITS
from recommender.questionnaires import Assessment
from recommender.scoring import Scorer
from training.colisten_run import fit_to
from training.data.catalogue import load_trainable_catalogue
from training.data.consolidation import consolidate
from training.data.drawing import draw_listeners
from training.data.listening import read_listening

SEED = 7
TALKERS, EACH = 400, 100
"""Listeners of whom nothing is known but what they said, and how much that was."""
WEIGHED = Scorer.of({stage: {"colisten": 0.8, "novelty": 0.2} for stage in Stage})
"""About what training fits to these listeners."""
MANIFEST, FILES = "manifest.json", "artifacts"
_SAID = said(
    f"""
    WITH known AS (
        SELECT track_id, row_number() OVER (ORDER BY md5(track_id)) - 1 AS place, count(*) OVER ()
        FROM tracks JOIN audio_features USING (track_id) WHERE category IS NOT NULL
    )
    SELECT 'talker-' || n % {TALKERS} AS user_id, n / {TALKERS} + 1 AS episode, track_id,
           {KIND} AS kind, CAST(:now AS timestamptz) - interval '1 hour' AS at,
           CAST(NULL AS uuid) AS recommendation_id, CAST(NULL AS smallint) AS position
    FROM generate_series(0, {TALKERS * EACH} - 1) AS n
    JOIN known ON place = n * 7919::bigint % count
    """  # noqa: S608 - constants
)


def fill(engine: sa.Engine) -> list[str]:
    """Import BONDHU_DATA, or the built-in world without it; return listeners with a history."""
    data, now = read_settings().bondhu_data, datetime.now(UTC)
    if data is None:
        build_world(engine, now=now)
    else:
        import_catalogue(engine, data, now=now)
        import_lastfm(engine, data, now=now)
    _talk(engine, now)
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


def _talk(engine: sa.Engine, now: datetime) -> None:
    """Let listeners with an assessment say something of many tracks."""
    rng = np.random.default_rng(SEED)
    with engine.begin() as connection:
        for number in range(TALKERS):
            user_id = f"talker-{number}"
            ensure_user(connection, user_id, source="generated", now=now)
            scores = dict(zip(TRAITS, rng.uniform(0, 100, len(TRAITS)).tolist(), strict=True))
            assessment = Assessment(scores, dict.fromkeys(TRAITS, 1.0))
            save_assessment(connection, user_id, assessment, method="generated", now=now)
        connection.execute(_SAID, {"now": now})
        connection.execute(sa.text("ANALYZE music_interactions"))


def register(engine: sa.Engine, folder: Path, versions: int = 2) -> None:
    """Register models in tables laid out as MLflow's: equal scorers, and one each of the rest."""
    drawn = draw_listeners(engine, seed=SEED)
    listened = read_listening(engine, drawn.listening)
    colisten = fit_to(listened, load_trainable_catalogue(engine), seed=SEED)
    consolidated = consolidate(engine, now=datetime.now(UTC))
    with engine.begin() as connection:
        for statement in (
            "CREATE SCHEMA IF NOT EXISTS mlflow",
            "CREATE TABLE mlflow.model_versions (name text, version int, storage_location text)",
            "CREATE TABLE mlflow.model_version_tags (name text, version int, key text, value text)",
            "CREATE TABLE mlflow.registered_model_aliases (alias text, version int, name text)",
            "INSERT INTO mlflow.registered_model_aliases"
            " VALUES ('champion', 1, 'scorer'), ('champion', 1, 'colisten'),"
            " ('champion', 1, 'qtable')",
        ):
            connection.execute(sa.text(statement))
        for version in range(1, versions + 1):
            _add(connection, folder, "scorer", version, WEIGHED.to_files())
        _add(connection, folder, "colisten", 1, colisten.to_files())
        _add(connection, folder, "qtable", 1, consolidated.table.to_files())


def _add(
    connection: sa.Connection, folder: Path, name: str, version: int, files: Mapping[str, bytes]
) -> None:
    place = folder / f"{name}-{version}"
    asked = {
        "name": name,
        "v": version,
        "place": str(place),
        "digest": _write(place / FILES, files),
    }
    for statement in (
        "INSERT INTO mlflow.model_versions VALUES (:name, :v, :place)",
        "INSERT INTO mlflow.model_version_tags VALUES (:name, :v, 'manifest_sha256', :digest)",
    ):
        connection.execute(sa.text(statement), asked)


def swap(engine: sa.Engine) -> None:
    """Let the other version be champion."""
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE mlflow.registered_model_aliases SET version = 3 - version"
                " WHERE name = 'scorer'"
            )
        )


def _write(folder: Path, files: Mapping[str, bytes]) -> str:
    folder.mkdir(parents=True)
    hashes = {}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    manifest = json.dumps(hashes).encode()
    (folder / MANIFEST).write_bytes(manifest)
    return hashlib.sha256(manifest).hexdigest()
