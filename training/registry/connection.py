"""Addresses of a tracking server or database, and a quiet MLflow."""

import logging
from urllib.parse import urlsplit

import sqlalchemy as sa
from mlflow.environment_variables import (
    MLFLOW_DISABLE_TELEMETRY,
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
)
from mlflow.telemetry import set_telemetry_client
from sqlalchemy.exc import ArgumentError, OperationalError

from training.errors import RegistryError


def is_server(tracking_uri: str) -> bool:
    """Return whether runs are kept by a tracking server, which keeps the artifacts too."""
    return urlsplit(tracking_uri).scheme in {"http", "https"}


def check(tracking_uri: str) -> None:
    """Refuse a database that does not answer: MLflow would try again for 100 s."""
    if is_server(tracking_uri):
        return
    try:
        engine = sa.create_engine(tracking_uri, poolclass=sa.NullPool)
        engine.connect().close()
    except (ArgumentError, OperationalError) as error:
        reason = str(error.orig if isinstance(error, OperationalError) else error).splitlines()[0]
        raise RegistryError(
            f"MLflow's database cannot be used ({reason}): check MLFLOW_TRACKING_URI"
        ) from None


def quieten() -> None:
    """Keep MLflow from reporting home, and its loggers from reporting every step."""
    MLFLOW_DISABLE_TELEMETRY.set(True)  # type: ignore[no-untyped-call]
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)  # type: ignore[no-untyped-call]
    set_telemetry_client()  # type: ignore[no-untyped-call]
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It shows a traceback of every outage; `training.registry.outages` tells them in one line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
