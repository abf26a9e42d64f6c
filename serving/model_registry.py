"""Which model is served: aliases of MLflow's registry, resolved without MLflow.

Importing mlflow costs a worker 5 s and 178 MB; a look into the registry costs 0.2 ms by SQL, or a
call over HTTP where MLFLOW_TRACKING_URI names a tracking server. Artifacts are JSON with a manifest
of hashes, the manifest's own hash being a tag of the version: who can write into the store of
artifacts can neither run code here nor change a model.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Generic, Protocol, Self, TypeVar
from urllib.parse import unquote, urlsplit

import httpx
import sqlalchemy as sa

from features.database import connect
from recommender.errors import ModelFormatError

MANIFEST, MANIFEST_TAG = "manifest.json", "manifest_sha256"
FILES = "artifacts"
CHAMPION, CHALLENGER = "champion", "challenger"

_ALIASED = sa.text(
    """
    SELECT v.version, v.storage_location, t.value
    FROM registered_model_aliases a
    JOIN model_versions v ON v.name = a.name AND v.version = a.version
    LEFT JOIN model_version_tags t
        ON t.name = v.name AND t.version = v.version AND t.key = :tag
    WHERE a.name = :name AND a.alias = :alias
    """
)


class RegistryUnavailableError(Exception):
    """The registry is away; the message says which and why."""


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
class Aliased:
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

    def aliased(self, name: str, alias: str) -> Aliased | None:
        """Return the version that an alias of a model names, None where there is none.

        Raises
        ------
        RegistryUnavailableError
            The registry is away.
        """
        ...

    def read(self, version: Aliased, file: str) -> bytes:
        """Return one of its files; raises OSError where it cannot."""
        ...

    def close(self) -> None:
        """Let the connections go."""
        ...


class SqlRegistry:
    """A registry in a database, its artifacts in a folder that this machine sees."""

    def __init__(self, tracking_uri: str) -> None:
        self._engine = connect(tracking_uri, pool_size=1)

    def aliased(self, name: str, alias: str) -> Aliased | None:
        """Ask the registry's tables."""
        asked = {"name": name, "alias": alias, "tag": MANIFEST_TAG}
        try:
            with self._engine.connect() as connection:
                row = connection.execute(_ALIASED, asked).one_or_none()
        except sa.exc.ProgrammingError:  # the registry's tables are not there yet
            return None
        except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
            reason = str(error).splitlines()[0]
            raise RegistryUnavailableError(f"MLflow's database is away: {reason}") from None
        return Aliased(int(row[0]), row[1], row[2]) if row else None

    def read(self, version: Aliased, file: str) -> bytes:
        """Read from the folder."""
        return (Path(unquote(urlsplit(version.location).path)) / FILES / file).read_bytes()

    def close(self) -> None:
        """Let the connection go."""
        self._engine.dispose()


class HttpRegistry:
    """A registry behind an MLflow tracking server, which hands out the artifacts too."""

    def __init__(self, tracking_uri: str) -> None:
        self._client = httpx.Client(base_url=tracking_uri.rstrip("/"), timeout=5.0)

    def aliased(self, name: str, alias: str) -> Aliased | None:
        """Ask the server's REST interface."""
        try:
            answer = self._client.get(
                "/api/2.0/mlflow/registered-models/alias", params={"name": name, "alias": alias}
            )
            # MLflow says 404 or, for a model without this alias, 400 INVALID_PARAMETER_VALUE.
            if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.BAD_REQUEST):
                return None
            answer.raise_for_status()
            found = answer.json()["model_version"]
            asked = {"name": name, "version": found["version"]}
            located = self._client.get(
                "/api/2.0/mlflow/model-versions/get-download-uri", params=asked
            ).raise_for_status()
        except httpx.HTTPError as error:
            raise RegistryUnavailableError(f"the MLflow server does not answer: {error}") from None
        tags = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
        return Aliased(
            int(found["version"]), located.json()["artifact_uri"], tags.get(MANIFEST_TAG)
        )

    def read(self, version: Aliased, file: str) -> bytes:
        """Read through the server, or from a folder where it names one."""
        parts = urlsplit(version.location)
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


def load_champion(registry: ModelRegistry, name: str, model: type[M]) -> ServedModel[M]:
    """Return the model that listeners get, checked.

    Raises
    ------
    ModelFormatError
        There is none, or its files are not what was registered.
    RegistryUnavailableError
        The registry is away.
    """
    found = find(registry, name)
    return ServedModel(
        found.version, model.from_files(without_manifest(read_files(registry, found)))
    )


def find(registry: ModelRegistry, name: str) -> Aliased:
    """Return the champion of a model; raises ModelFormatError where there is none."""
    found = registry.aliased(name, CHAMPION)
    if found is None:
        raise ModelFormatError(f"no version of {name} is champion: run 'bondhu train {name}'")
    return found


def without_manifest(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return a version's files as its model reads them."""
    return {name: content for name, content in files.items() if name != MANIFEST}


def read_files(registry: ModelRegistry, version: Aliased) -> dict[str, bytes]:
    """Read the manifest and every file of it; none is believed that is not what was registered.

    Raises
    ------
    ModelFormatError
        A file cannot be read or is another one.
    """
    try:
        manifest = registry.read(version, MANIFEST)
        files = {name: registry.read(version, name) for name in _names(manifest)}
    except (OSError, ValueError) as error:
        raise ModelFormatError(
            f"version {version.version} cannot be read ({error}): is the folder of artifacts"
            " within reach?"
        ) from None
    check_files({MANIFEST: manifest} | files, version.manifest_sha256, version.version)
    return {MANIFEST: manifest} | files


def check_files(files: Mapping[str, bytes], manifest_sha256: str | None, version: int) -> None:
    """Fail unless the manifest is the registered one and every file is as it says.

    Raises
    ------
    ModelFormatError
        Something is not what was registered.
    """
    manifest = files[MANIFEST]
    if _sha256(manifest) != manifest_sha256:
        raise ModelFormatError(f"version {version} is not what was registered")
    for name, digest in json.loads(manifest).items():
        if _sha256(files[name]) != digest:
            raise ModelFormatError(f"{name} of version {version} is not what was registered")


def _names(manifest: bytes) -> list[str]:
    """Return the files of a manifest; raises ValueError where it is none."""
    named = json.loads(manifest)
    if not isinstance(named, dict) or any(PurePosixPath(n).name != n for n in named):
        raise ValueError("the manifest names no plain files")
    return list(named)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
