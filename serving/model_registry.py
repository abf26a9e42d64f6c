"""Which model is served: the alias `champion` of MLflow's registry, resolved without MLflow.

Importing mlflow costs a worker 5 s and 178 MB; a look into the registry costs 0.2 ms by SQL, or a
call over HTTP where MLFLOW_TRACKING_URI names a tracking server. Artifacts are JSON with a manifest
of hashes, the manifest's own hash being a tag of the version: who can write into the store of
artifacts can neither run code here nor change a model.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar
from urllib.parse import unquote, urlsplit

import httpx
import sqlalchemy as sa

from features.database import connect
from recommender.errors import ModelFormatError

MANIFEST, MANIFEST_TAG = "manifest.json", "manifest_sha256"
FILES = "artifacts"

_CHAMPION = sa.text(
    """
    SELECT v.version, v.storage_location, t.value
    FROM registered_model_aliases a
    JOIN model_versions v ON v.name = a.name AND v.version = a.version
    LEFT JOIN model_version_tags t
        ON t.name = v.name AND t.version = v.version AND t.key = :tag
    WHERE a.name = :name AND a.alias = 'champion'
    """
)


class Model(Protocol):
    """A model of the core, that reads its own files."""

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read the files; raises ModelFormatError where they are not this model's."""
        ...


M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class ServedModel(Generic[M]):
    """A model with the version that names it in responses and cache keys."""

    version: int
    model: M


@dataclass(frozen=True)
class Champion:
    """The version that an alias names.

    Attributes
    ----------
    location
        Where its files are, as the registry says it.
    manifest_sha256
        What the hash of its manifest must be.
    """

    version: int
    location: str
    manifest_sha256: str | None


class ModelRegistry(Protocol):
    """What a worker asks of a registry."""

    def champion(self, name: str) -> Champion | None:
        """Return the champion of a model, None where there is none."""
        ...

    def read(self, champion: Champion, file: str) -> bytes:
        """Return one of its files; raises OSError where it cannot."""
        ...

    def close(self) -> None:
        """Let the connections go."""
        ...


class SqlRegistry:
    """A registry in a database, its artifacts in a folder that this machine sees."""

    def __init__(self, tracking_uri: str) -> None:
        self._engine = connect(tracking_uri, pool_size=1)

    def champion(self, name: str) -> Champion | None:
        """Ask the registry's tables."""
        with self._engine.connect() as connection:
            row = connection.execute(_CHAMPION, {"name": name, "tag": MANIFEST_TAG}).one_or_none()
        return Champion(int(row[0]), row[1], row[2]) if row else None

    def read(self, champion: Champion, file: str) -> bytes:
        """Read from the folder."""
        return (Path(unquote(urlsplit(champion.location).path)) / FILES / file).read_bytes()

    def close(self) -> None:
        """Let the connection go."""
        self._engine.dispose()


class HttpRegistry:
    """A registry behind an MLflow tracking server, which hands out the artifacts too."""

    def __init__(self, tracking_uri: str) -> None:
        self._client = httpx.Client(base_url=tracking_uri.rstrip("/"), timeout=10.0)

    def champion(self, name: str) -> Champion | None:
        """Ask the server's REST interface."""
        try:
            answer = self._client.get(
                "/api/2.0/mlflow/registered-models/alias",
                params={"name": name, "alias": "champion"},
            )
            if answer.status_code == httpx.codes.NOT_FOUND:
                return None
            answer.raise_for_status()
            found = answer.json()["model_version"]
            asked = {"name": name, "version": found["version"]}
            located = self._client.get(
                "/api/2.0/mlflow/model-versions/get-download-uri", params=asked
            ).raise_for_status()
        except httpx.HTTPError as error:
            raise ModelFormatError(f"the MLflow server does not answer: {error}") from None
        tags = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
        return Champion(
            int(found["version"]), located.json()["artifact_uri"], tags.get(MANIFEST_TAG)
        )

    def read(self, champion: Champion, file: str) -> bytes:
        """Read through the server, or from a folder where it names one."""
        parts = urlsplit(champion.location)
        path = f"{parts.path}/{FILES}/{file}"
        if parts.scheme in ("", "file"):
            return Path(unquote(path)).read_bytes()
        try:
            answer = self._client.get(f"/api/2.0/mlflow-artifacts/artifacts/{path.lstrip('/')}")
            return answer.raise_for_status().content
        except httpx.HTTPError as error:
            raise OSError(str(error)) from None

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()


def open_registry(tracking_uri: str) -> ModelRegistry:
    """Return the registry at an address, of a database or of a server."""
    if urlsplit(tracking_uri).scheme in ("http", "https"):
        return HttpRegistry(tracking_uri)
    return SqlRegistry(tracking_uri)


def champion_version(registry: ModelRegistry, name: str) -> int:
    """Return the champion's version.

    Raises
    ------
    ModelFormatError
        There is none.
    """
    return _champion(registry, name).version


def champion_if_any(registry: ModelRegistry, name: str) -> int | None:
    """Return the champion's version, None where there is none."""
    found = _champion_if_any(registry, name)
    return None if found is None else found.version


def load_if_any(registry: ModelRegistry, name: str, model: type[M]) -> ServedModel[M] | None:
    """Return a model that listeners may go without: None where no version is champion.

    Raises
    ------
    ModelFormatError
        There is one, and its files are not what was registered.
    """
    found = _champion_if_any(registry, name)
    if found is None:
        return None
    return ServedModel(found.version, model.from_files(_files(registry, found)))


def load_champion(registry: ModelRegistry, name: str, model: type[M]) -> ServedModel[M]:
    """Return the model that listeners get, checked.

    Raises
    ------
    ModelFormatError
        There is none, or its files are not what was registered.
    """
    found = _champion(registry, name)
    return ServedModel(found.version, model.from_files(_files(registry, found)))


def _champion_if_any(registry: ModelRegistry, name: str) -> Champion | None:
    try:
        return registry.champion(name)
    except sa.exc.ProgrammingError:  # the registry's tables are not there yet
        return None


def _champion(registry: ModelRegistry, name: str) -> Champion:
    found = _champion_if_any(registry, name)
    if found is None:
        raise ModelFormatError(f"no version of {name} is champion: run 'bondhu train {name}'")
    return found


def _files(registry: ModelRegistry, champion: Champion) -> dict[str, bytes]:
    """Read every file of the manifest; none is believed that is not what was registered."""
    try:
        manifest = registry.read(champion, MANIFEST)
        if _sha256(manifest) != champion.manifest_sha256:
            raise ModelFormatError(f"version {champion.version} is not what was registered")
        hashes: Mapping[str, str] = json.loads(manifest)
        files = {name: registry.read(champion, name) for name in hashes}
    except (OSError, ValueError) as error:
        raise ModelFormatError(
            f"version {champion.version} cannot be read ({error}): is the folder of artifacts"
            " within reach?"
        ) from None
    for name, content in files.items():
        if _sha256(content) != hashes[name]:
            raise ModelFormatError(
                f"{name} of version {champion.version} is not what was registered"
            )
    return files


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
