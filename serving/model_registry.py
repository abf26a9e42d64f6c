"""Which model is served: the alias `champion` of MLflow's registry, resolved without MLflow.

Importing mlflow costs a worker 5 s and 178 MB; one look into the registry's tables costs 0.2 ms.
Artifacts are JSON with a manifest of hashes: who can write the store cannot run code here.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from recommender.errors import ModelFormatError
from recommender.scoring import Scorer

_CHAMPION = sa.text(
    """
    SELECT v.version, v.storage_location
    FROM mlflow.registered_model_aliases a
    JOIN mlflow.model_versions v ON v.name = a.name AND v.version = a.version
    WHERE a.name = :name AND a.alias = 'champion'
    """
)


@dataclass(frozen=True)
class ServedScorer:
    """A scorer with the version that names it in responses and cache keys."""

    version: int
    scorer: Scorer


def champion(engine: sa.Engine, name: str) -> tuple[int, Path]:
    """Return the champion's version and the folder of its files.

    Raises
    ------
    ModelFormatError
        No version carries the alias.
    """
    with engine.connect() as connection:
        row = connection.execute(_CHAMPION, {"name": name}).one_or_none()
    if row is None:
        raise ModelFormatError(
            f"no version of {name} is champion: run 'bondhu train {name}', then 'bondhu promote'"
        )
    location = urlsplit(row.storage_location)
    return int(row.version), Path(unquote(location.path)) / "artifacts"


def read_checked(folder: Path, file: str) -> str:
    """Return an artifact's text after comparing its hash with the manifest's.

    Raises
    ------
    ModelFormatError
        It is missing, or not the file that was registered.
    """
    try:
        content = (folder / file).read_bytes()
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFormatError(f"{file} cannot be read from its model version: {error}") from None
    if hashlib.sha256(content).hexdigest() != manifest.get(file):
        raise ModelFormatError(f"{file} is not what its manifest says: the artifact was changed")
    return content.decode()


def load_champion_scorer(engine: sa.Engine) -> ServedScorer:
    """Return the scorer that listeners get, checked.

    Raises
    ------
    ModelFormatError
        There is none, or it is damaged.
    """
    version, folder = champion(engine, "scorer")
    return ServedScorer(version, Scorer.from_json(read_checked(folder, "scorer.json")))
