"""Where a search is kept: Optuna's tables in their own schema, so that a kill loses no trial."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import sqlalchemy as sa
from optuna.trial import TrialState

from features.database import schema_uri
from training.errors import TrainingError

SCHEMA = "optuna"


@contextmanager
def open_study(engine: sa.Engine, name: str) -> Iterator[optuna.Study]:
    """Lend the study of this name, a new one if there is none, to one process at a time.

    Trials that a killed process left running are marked as failed: they are made again. The lock is
    the connection's, and goes with it.

    Raises
    ------
    TrainingError
        Another process is at the same search.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    key = int.from_bytes(hashlib.sha256(f"search {name}".encode()).digest()[:8], "big", signed=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        taken = connection.scalar(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": key})
        if not taken:
            raise TrainingError(
                f"the search '{name}' is running already: wait for it, or end its process"
            )
        try:
            connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            url = schema_uri(engine.url.render_as_string(hide_password=False), SCHEMA)
            storage = optuna.storages.RDBStorage(url, engine_kwargs={"pool_size": 1})
            try:
                study = optuna.create_study(
                    storage=storage, study_name=name, direction="maximize", load_if_exists=True
                )
                for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                    study.tell(trial.number, state=TrialState.FAIL)
                yield study
            finally:
                storage.engine.dispose()
        finally:
            connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": key})
