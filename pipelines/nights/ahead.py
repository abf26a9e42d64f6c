"""What later steps of a night need, begun while its first ones wait for Postgres.

MLflow and what it stands on take seconds to import, its first tables as long again, and Dask's
workers as well: one core does that beside the feature build, which keeps the other one busy.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from importlib import import_module

from features.spreading import Spread
from pipelines.environment import Environment
from pipelines.workers import are_elsewhere, open_workers

RUNS = ("training.qtables", "training.audio_estimator", "training.colisten_run", "training.scorer")
"""What steps import, with scipy, scikit-learn and what draws figures."""


log = logging.getLogger("bondhu.nightly")


class Ahead:
    """The registry and the workers of one night, each opened once; see `open_ahead`.

    What could not be opened ahead is tried again by whoever needs it, and raises its error there.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        # One thread: modules are imported one after another, and a client ends where it began.
        self._thread = ThreadPoolExecutor(1, "ahead")
        self._stack = ExitStack()
        self._begun: list[Future[object]] = []
        self._spread: Spread | None = None

    def begin(self) -> None:
        """Begin with everything, and return at once."""
        if not self._begun:
            tasks = (self._open_workers, self._environment.registry, self._import_runs)
            self._begun = [self._thread.submit(task) for task in tasks]

    def wait(self) -> None:
        """Return when what was begun has ended, however it did."""
        wait(self._begun)

    def spread(self, here: Spread) -> Spread:
        """Return what does work in parts: Dask's workers on this machine, if it is to have any."""
        self.wait()
        if self._spread is None:
            self._thread.submit(self._open_workers).result()
        return self._spread or here

    def close(self) -> None:
        """End what was begun; what has not begun yet is not waited for."""
        for one in self._begun:
            one.cancel()
        error = self._thread.submit(self._stack.close).exception()
        self._thread.shutdown()
        if error is not None:  # the night's work is done, and has yet to be written down
            log.warning("Workers did not end in order: %s", type(error).__name__)

    def _open_workers(self) -> None:
        settings = self._environment.settings
        if settings.bondhu_dask and not are_elsewhere(settings):
            self._spread = self._stack.enter_context(open_workers(settings))

    @staticmethod
    def _import_runs() -> None:
        for name in RUNS:
            import_module(name)


@contextmanager
def open_ahead(environment: Environment) -> Iterator[Ahead]:
    """Lend what a night has ahead, and end it with the night."""
    ahead = Ahead(environment)
    try:
        yield ahead
    finally:
        ahead.close()
