"""What a command works with: servers that run, a migrated schema, an engine, a model registry."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import redis
import sqlalchemy as sa

from features.database import check, connect, mlflow_uri
from features.migrations import check_schema
from features.migrations import migrate as bring_up_to_date
from features.settings import ROOT, Settings, SettingsError
from pipelines.servers import Endpoints, open_servers
from pipelines.servers.folders import private_folder

if TYPE_CHECKING:
    from training.registry import Registry

ARTIFACTS = ROOT / "mlruns"


@dataclass(frozen=True)
class Environment:
    """One command's surroundings."""

    settings: Settings
    database_url: str
    redis_url: str
    tracking_uri: str
    engine: sa.Engine

    def registry(self) -> "Registry":
        """Return the model registry, opened once; imports MLflow, which takes some seconds."""
        return self._registry

    @cached_property
    def _registry(self) -> "Registry":
        from training.registry import Registry  # noqa: PLC0415 - 5 s that most commands need not wait

        return Registry(self.tracking_uri, ARTIFACTS)

    def worker_environment(self) -> dict[str, str]:
        """Return the environment of a process that serves on these servers."""
        return os.environ | {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "BONDHU_HOME": str(self.settings.home),
        }


def tracking_uri(settings: Settings, endpoints: Endpoints) -> str:
    """Return where MLflow keeps runs: as set, else its own schema in Bondhu's database."""
    return settings.mlflow_tracking_uri or mlflow_uri(endpoints.database_url)


@contextmanager
def open_environment(settings: Settings, *, migrate: bool = True) -> Iterator[Environment]:
    """Start what is not running, bring the schema up to date, and stop at the end what was started.

    Parameters
    ----------
    migrate
        False: for what only looks. The schema stays as it is, and has to be this release's.

    Raises
    ------
    ServerError, DatabaseUnavailableError, redis.RedisError
        A server does not start, or one that is named does not answer, or its schema is behind.
    """
    with open_servers(settings.home, settings.database_url, settings.redis_url) as endpoints:
        engine = connect(endpoints.database_url)
        try:
            check(engine)
            with redis.Redis.from_url(endpoints.redis_url, socket_connect_timeout=5) as client:
                client.ping()
            if migrate:
                bring_up_to_date(engine)
            else:
                check_schema(engine)
            yield Environment(
                settings,
                endpoints.database_url,
                endpoints.redis_url,
                tracking_uri(settings, endpoints),
                engine,
            )
        finally:
            engine.dispose()


def check_who_may_call(settings: Settings) -> None:
    """Fail where nothing says who may call: the development secret is for the demo alone.

    Raises
    ------
    SettingsError
        Neither BONDHU_JWT_SECRET nor SUPABASE_URL is set.
    """
    if settings.bondhu_jwt_secret is None and settings.supabase_url is None:
        raise SettingsError(
            "neither BONDHU_JWT_SECRET nor SUPABASE_URL is set, so that nobody could call: make a"
            " secret with export BONDHU_JWT_SECRET="
            "$(python3 -c 'import secrets; print(secrets.token_urlsafe(48))')"
        )


def development_secret(home: Path) -> str:
    """Return the secret that signs tokens where BONDHU_JWT_SECRET is unset; made at first use.

    It lives in BONDHU_HOME, readable by its owner only.
    """
    path = private_folder(home) / "jwt-secret"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
    return path.read_text(encoding="ascii").strip()


def signing_secret(settings: Settings) -> str:
    """Return BONDHU_JWT_SECRET, or the development secret."""
    if settings.bondhu_jwt_secret is not None:
        return settings.bondhu_jwt_secret.get_secret_value()
    return development_secret(settings.home)
