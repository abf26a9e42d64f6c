"""The registry: what is written to MLflow and read back of it.

Only its client is used, on addresses given here: no global state, no run left open, nothing
pickled. A version's files lie under its address in `artifacts`: those of the model
(`training.model_kind`) and `manifest.json`. The service finds them by SQL and imports none of this.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID

from recommender.scoring import PRIOR
from training import scorer_flavour
from training.code_version import commit_of
from training.errors import RegistryError
from training.model_kind import M, ModelKind
from training.packaging import read_package
from training.registry.connection import check, is_server, quieten
from training.registry.outages import reached, telling_outages
from training.registry.package import FILES, environment, save
from training.registry.stored import stored_run
from training.registry.turns import turn
from training.runs import (
    BY_HAND,
    CHAMPION,
    CODE_TAG,
    DATA_TAG,
    FITTED_FROM_TAG,
    MODEL_SHA256_TAG,
    MODEL_TAG,
    SCORER,
    SECONDS,
    SEED,
    Run,
    StoredRun,
    Version,
)

EXPERIMENT = "bondhu"
MANIFEST_TAG = "manifest_sha256"
_EXISTS = ErrorCode.Name(RESOURCE_ALREADY_EXISTS)
_UNKNOWN = {
    ErrorCode.Name(RESOURCE_DOES_NOT_EXIST),
    ErrorCode.Name(INVALID_PARAMETER_VALUE),
}
_NAME = re.compile(r"[\w.-]+")
_PAGE = 200


class Registry:
    """Where runs are kept and versions are named."""

    def __init__(self, tracking_uri: str, artifact_root: Path) -> None:
        """Connect; the first time, the tracking database is made (about 2 s).

        Parameters
        ----------
        tracking_uri
            From `features.database.mlflow_uri`, or of a tracking server.
        artifact_root
            The folder under which artifacts are kept, unless a tracking server keeps them.

        Raises
        ------
        RegistryError
            The address is neither that of a server nor of a database that answers. Where either
            goes away later, every method raises RegistryUnavailableError.
        """
        quieten()
        check(tracking_uri)
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        self._client = reached(client)
        self._tracking_uri = tracking_uri
        self._artifact_root = artifact_root.absolute()

    def log_run(self, run: Run, kind: ModelKind[M], model: M, tags: Mapping[str, str]) -> Version:
        """Keep a run, and register its model as the next version.

        A run that breaks off is marked as failed and leaves no version.

        Parameters
        ----------
        tags
            Of the version; code, data, seed and duration are added from the run.
        """
        client = self._client
        with self._run(run) as (run_id, folder), tempfile.TemporaryDirectory() as temporary:
            self._describe(run, run_id)
            saved, manifest = save(kind, model, Path(temporary))
            client.log_artifacts(run_id, str(saved), "model")
            client.log_batch(
                run_id, tags=[RunTag(MODEL_TAG, kind.name), RunTag(MODEL_SHA256_TAG, manifest)]
            )
            self._create_model(kind.name)
            created = client.create_model_version(
                kind.name,
                source=f"{folder}/model",
                run_id=run_id,
                tags={**_origin(run), **tags, MANIFEST_TAG: manifest},
            )
        return _version(created)

    def finish(self, run: StoredRun) -> None:
        """End a run whose version is there and whose process was killed before it could say so.

        A version comes last: whatever belongs to its run was logged before.
        """
        if run.status == "RUNNING":
            self._client.set_terminated(run.run_id, "FINISHED")

    def log_plain_run(self, run: Run) -> str:
        """Keep a run that has no model of its own, as a search's; return its id."""
        with self._run(run) as (run_id, _):
            self._describe(run, run_id)
        return run_id

    def ensure_prior(self) -> Version:
        """Register the hand-set prior as version 1 and champion, unless there are versions.

        Returns
        -------
        Version 1.
        """
        versions = self.versions(SCORER)
        if not versions:
            tags = {FITTED_FROM_TAG: BY_HAND}
            versions = [self.log_run(Run("prior", tags=tags), scorer_flavour.KIND, PRIOR, tags)]
        # Only the prior, and nobody serves: registering it was interrupted in between.
        if len(versions) == 1 and self.champion(SCORER) is None:
            self.set_alias(SCORER, CHAMPION, versions[0].number)
        return versions[0]

    def versions(self, name: str) -> list[Version]:
        """Return all versions of a model, the oldest first; none where the model is unknown."""
        if not _NAME.fullmatch(name):  # it would end the filter's quotation
            return []
        found: list[ModelVersion] = []
        token: str | None = None
        while token != "":
            page = self._client.search_model_versions(
                f"name='{name}'", max_results=_PAGE, page_token=token
            )
            found += page
            token = page.token or ""
        return sorted((_version(one) for one in found), key=lambda version: version.number)

    def version(self, name: str, number: int) -> Version:
        """Return one version.

        Raises
        ------
        RegistryError
            There is none.
        """
        for version in self.versions(name):
            if version.number == number:
                return version
        raise RegistryError(f"there is no {name} {number}: train one first")

    def champion(self, name: str) -> Version | None:
        """Return the version that is served, None where none is."""
        versions = {version.number: version for version in self.versions(name)}
        if not versions:
            return None
        aliases = self._client.get_registered_model(name).aliases
        return versions[int(aliases[CHAMPION])] if CHAMPION in aliases else None

    def turn(self, name: str) -> AbstractContextManager[None]:
        """Lend the turn to decide on a model; others wait until the block ends."""
        return turn(self._tracking_uri, name)

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Let an alias name this version from now on."""
        self._client.set_registered_model_alias(name, alias, str(number))

    def set_tag(self, version: Version, key: str, value: str) -> None:
        """Write a tag of a version."""
        self._client.set_model_version_tag(version.name, str(version.number), key, value)

    def aliases(self, name: str) -> Mapping[str, int]:
        """Return alias -> version of a model; none where the model is unknown."""
        found = self._client.search_registered_models(f"name='{name}'")
        return {alias: int(number) for one in found for alias, number in one.aliases.items()}

    def run(self, run_id: str) -> StoredRun:
        """Return what is kept of a run.

        Raises
        ------
        RegistryError
            There is none.
        """
        return stored_run(self._get_run(run_id))

    def children(self, run_id: str) -> list[StoredRun]:
        """Return the runs whose parent this one is, the newest first."""
        return self.runs({MLFLOW_PARENT_RUN_ID: run_id})

    def runs(self, tags: Mapping[str, str] | None = None) -> list[StoredRun]:
        """Return the runs that have all these tags, the newest first.

        Raises
        ------
        RegistryError
            A tag's name or value holds a quotation mark.
        """
        wanted = tags or {}
        if any(re.search("['\"`]", text) for pair in wanted.items() for text in pair):
            raise RegistryError(f"tags with quotation marks cannot be looked for: {dict(wanted)}")
        asked = " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items())
        found: list[StoredRun] = []
        token: str | None = None
        while token != "":
            page = self._client.search_runs(
                [self._experiment_id()],
                filter_string=asked,
                max_results=_PAGE,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            found += map(stored_run, page)
            token = page.token or ""
        return found

    def artifact(self, run_id: str, path: str) -> bytes:
        """Read one of a run's files, as `evaluation.json` or `figures/weights.png`.

        Raises
        ------
        RegistryError
            There is no such run or file.
        """
        self._get_run(run_id)
        with tempfile.TemporaryDirectory() as temporary:
            try:
                found = self._client.download_artifacts(run_id, path, temporary)
                return Path(found).read_bytes()
            except (MlflowException, OSError):
                raise RegistryError(f"run {run_id} keeps no file {path}") from None

    def log_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Keep files with a run, each in the place of one that has its name."""
        with tempfile.TemporaryDirectory() as temporary:
            for name, content in files.items():
                path = Path(temporary, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._client.log_artifacts(run_id, temporary)

    def set_run_tag(self, run_id: str, key: str, value: str) -> None:
        """Write a tag of a run."""
        self._client.set_tag(run_id, key, value)

    def environment(self) -> list[str]:
        """Return the libraries in use that models depend on, as `name==version`."""
        return environment()

    def metrics(self, run_id: str) -> dict[str, float]:
        """Return a run's metrics."""
        return dict(self._client.get_run(run_id).data.metrics)

    def folder(self, version: Version) -> Path:
        """Return where a version's files are, on this machine."""
        parts = urlsplit(version.location)
        if parts.scheme in ("", "file"):
            root = Path(unquote(parts.path))
        else:
            with telling_outages():
                root = Path(
                    mlflow.artifacts.download_artifacts(
                        artifact_uri=version.location, tracking_uri=self._tracking_uri
                    )
                )
        return root / FILES

    def load(self, kind: ModelKind[M], number: int) -> M:
        """Read a version's model.

        Raises
        ------
        RegistryError
            There is no such version, or its files are not what was registered.
        """
        version = self.version(kind.name, number)
        files = read_package(self.folder(version), version.tags.get(MANIFEST_TAG))
        return kind.model.from_files(files)

    def _get_run(self, run_id: str) -> MlflowRun:
        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in _UNKNOWN:
                raise
            raise RegistryError(f"there is no run {run_id}: see `bondhu train`") from None

    def _describe(self, run: Run, run_id: str) -> None:
        """Write all that a run is but its model."""
        client = self._client
        tags = _origin(run) | dict(run.tags)
        if CODE_TAG in tags:
            tags[MLFLOW_GIT_COMMIT] = commit_of(tags[CODE_TAG])
        if run.parent is not None:
            tags[MLFLOW_PARENT_RUN_ID] = run.parent
        client.log_batch(
            run_id,
            metrics=[Metric(k, float(v), _ms(run), 0) for k, v in run.metrics.items()],
            params=[Param(k, str(v)) for k, v in run.params.items()],
            tags=[RunTag(k, v) for k, v in tags.items()],
        )
        if run.data is not None:
            client.log_inputs(run_id, [_dataset(*run.data)])
        files = {f"figures/{name}": png for name, png in run.figures.items()} | dict(run.files)
        if files:
            self.log_files(run_id, files)

    def _create_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != _EXISTS:
                raise

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        try:
            local = (self._artifact_root / EXPERIMENT).as_uri()
            # A tracking server has a place of its own for artifacts.
            location = None if is_server(self._tracking_uri) else local
            return str(self._client.create_experiment(EXPERIMENT, artifact_location=location))
        except MlflowException as error:
            if error.error_code != _EXISTS:
                raise
            return self._experiment_id()  # another process was first

    @contextmanager
    def _run(self, run: Run) -> Iterator[tuple[str, str]]:
        """Lend a run's id and the address of its artifacts; it ends as the block does."""
        started = None if run.started_at is None else _ms(run)
        created = self._client.create_run(
            self._experiment_id(), start_time=started, run_name=run.name
        )
        run_id, status = created.info.run_id, "FAILED"
        try:
            yield run_id, created.info.artifact_uri
            status = "FINISHED"
        finally:
            ended = None if started is None else started + round(1000 * run.seconds)
            self._client.set_terminated(run_id, status, end_time=ended)


def _origin(run: Run) -> dict[str, str]:
    """Return what a version came from, as tags: code, data, seed and how long it took."""
    origin = {key: run.tags[key] for key in (CODE_TAG, DATA_TAG) if key in run.tags}
    if SEED in run.params:
        origin[SEED] = str(run.params[SEED])
    return origin | {SECONDS: f"{run.seconds:.1f}"}


def _dataset(name: str, digest: str, window: str) -> DatasetInput:
    # A dataset's digest is short by rule; the whole hash is a tag of the run.
    dataset = Dataset(name=name, digest=digest[:32], source_type="postgres", source=window)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _version(found: ModelVersion) -> Version:
    run_id, location = found.run_id or "", found.source or ""
    return Version(found.name, int(found.version), run_id, location, dict(found.tags))


def _ms(run: Run) -> int:
    """Return the run's start in milliseconds since 1970, 0 where it was not given."""
    return 0 if run.started_at is None else round(run.started_at.timestamp() * 1000)
