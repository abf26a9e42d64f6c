"""Any model's champion, as MLflow's registry stores it; after `serving_world.register`."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa


def register_model(
    engine: sa.Engine, folder: Path, name: str, version: int, files: Mapping[str, bytes]
) -> None:
    artifacts = folder / f"{name}-{version}" / "artifacts"
    artifacts.mkdir(parents=True)
    for file, content in files.items():
        (artifacts / file).write_bytes(content)
    hashes = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    manifest = json.dumps(hashes)
    (artifacts / "manifest.json").write_text(manifest)
    asked = {
        "name": name,
        "version": version,
        "location": str(artifacts.parent),
        "hash": hashlib.sha256(manifest.encode()).hexdigest(),
    }
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO mlflow.model_versions VALUES (:name, :version, :location)",
            "INSERT INTO mlflow.model_version_tags"
            " VALUES (:name, :version, 'manifest_sha256', :hash)",
            "INSERT INTO mlflow.registered_model_aliases VALUES ('champion', :version, :name)"
            " ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version",
        ):
            connection.execute(sa.text(statement), asked)
