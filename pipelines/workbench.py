"""What a notebook works with: servers that run, tables that are filled, and the registry.

The same that commands use. After `make demo` its data stand there; where the tables are empty, the
real data of BONDHU_DATA are imported, or else the built-in world is simulated.
"""

import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import sqlalchemy as sa

from features.build import build_features
from features.settings import Settings, read_settings
from features.sources.catalogue import import_catalogue
from features.sources.lastfm import import_lastfm
from features.sources.world import SOURCE, build_world
from pipelines.environment import Environment, open_environment

if TYPE_CHECKING:
    from training.registry import Registry


@dataclass(frozen=True)
class Workbench:
    """Open until `close` is called, or the notebook's kernel ends.

    Attributes
    ----------
    now
        When it was opened: give it to whatever asks for the time, and cells repeat.
    is_simulated
        Whether the tracks were invented.
    """

    settings: Settings
    engine: sa.Engine
    now: datetime
    is_simulated: bool
    _environment: Environment
    _running: ExitStack

    @cached_property
    def registry(self) -> "Registry":
        """The model registry, with the prior in it; the first use imports MLflow (5 s)."""
        with warnings.catch_warnings():
            # A progress bar of tqdm misses ipywidgets; nothing here draws one.
            warnings.filterwarnings("ignore", message="IProgress not found")
            registry = self._environment.registry()
        registry.ensure_prior()
        return registry

    def __str__(self) -> str:
        """Return one line on where the rows are from."""
        if self.is_simulated:
            return "the built-in world: every track and listener in it is simulated"
        return "imported data"

    def close(self) -> None:
        """Stop what was started."""
        self._running.close()


def open_workbench(settings: Settings | None = None) -> Workbench:
    """Open it; the first time in an empty database takes half a minute.

    Raises
    ------
    ServerError, DatabaseUnavailableError, InputError
        A server does not start, or the data cannot be read.
    """
    settings, now = settings or read_settings(), datetime.now(UTC)
    with ExitStack() as opening:
        environment = opening.enter_context(open_environment(settings))
        if not _origins(environment.engine):
            _fill(environment.engine, settings, now)
        is_simulated = SOURCE in _origins(environment.engine)
        running = opening.pop_all()
    return Workbench(settings, environment.engine, now, is_simulated, environment, running)


def _origins(engine: sa.Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(sa.text("SELECT DISTINCT source FROM tracks")))


def _fill(engine: sa.Engine, settings: Settings, now: datetime) -> None:
    if settings.bondhu_data is None:
        build_world(engine, now=now)
    else:
        import_catalogue(engine, settings.bondhu_data, now=now)
        import_lastfm(engine, settings.bondhu_data, now=now)
    build_features(engine, now=now)
