"""Runs as MLflow returns them, in plain types."""

from datetime import UTC, datetime

from mlflow.entities import Run as MlflowRun

from training.runs import DATA_TAG, StoredRun

_OF_MLFLOW = ("mlflow.user", "mlflow.source.", "mlflow.log-model.")


def stored_run(found: MlflowRun) -> StoredRun:
    """Return a run without what MLflow notes for itself: the account's name, the command."""
    info, data = found.info, found.data
    tags = {key: value for key, value in data.tags.items() if not key.startswith(_OF_MLFLOW)}
    inputs = None
    for one in found.inputs.dataset_inputs if found.inputs else ():
        dataset = one.dataset
        # A dataset's digest is cut to 32 characters; the tag holds all of them.
        whole = tags.get(DATA_TAG, "")
        digest = whole if whole.startswith(dataset.digest) else dataset.digest
        inputs = (dataset.name, digest, dataset.source)
    # A run that was logged without a time starts at 0.
    started = datetime.fromtimestamp(info.start_time / 1000, UTC) if info.start_time else None
    ended = info.end_time if info.end_time else info.start_time
    return StoredRun(
        run_id=info.run_id,
        name=info.run_name or "",
        status=info.status,
        params=dict(data.params),
        metrics=dict(data.metrics),
        tags=tags,
        data=inputs,
        started_at=started,
        seconds=((ended or 0) - (info.start_time or 0)) / 1000,
    )
