"""Outages of MLflow's database or server, told as the registry's own error.

MLflow wraps what its database says in an error of its own, with many lines and codes that differ by
call. A caller of the registry wants one line, and the nights want to know that it may pass.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, cast

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE, ErrorCode
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from training.errors import RegistryUnavailableError

_AWAY = (OperationalError, InterfaceError, requests.ConnectionError, requests.Timeout)
_PASSES = ErrorCode.Name(TEMPORARILY_UNAVAILABLE)


@contextmanager
def telling_outages() -> Iterator[None]:
    """Raise `RegistryUnavailableError` in place of what MLflow makes of a server that is away."""
    try:
        yield
    except (MlflowException, *_AWAY) as error:
        reason = _outage(error)
        if reason is None:
            raise
        raise RegistryUnavailableError(
            f"MLflow's database went away ({reason}): run it again once it answers,"
            " MLFLOW_TRACKING_URI says where it is"
        ) from None


def reached(client: MlflowClient) -> MlflowClient:
    """Return a client whose calls tell outages."""
    return cast(MlflowClient, _Telling(client))


class _Telling:
    """Passes every call on."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)

        @wraps(call)
        def asked(*given: Any, **named: Any) -> Any:
            with telling_outages():
                return call(*given, **named)

        return asked


def _outage(error: BaseException) -> str | None:
    """Return in one line why the server is away; None where the error says something else."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, _AWAY):
            said = str(seen.orig if isinstance(seen, DBAPIError) else seen).strip()
            return said.splitlines()[0] if said else type(seen).__name__
        seen = seen.__cause__ or seen.__context__
    is_away = isinstance(error, MlflowException) and error.error_code == _PASSES
    return str(error).strip().splitlines()[0] if is_away else None
