"""What the steps of one night share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from features import nights
from features.nights import Outcome
from features.spreading import Spread
from pipelines.environment import Environment
from pipelines.nights.ahead import Ahead
from pipelines.nights.lock import Lock
from pipelines.workers import are_elsewhere, open_workers

if TYPE_CHECKING:
    from training.registry import Registry


@dataclass(frozen=True)
class Night:
    """One night.

    Attributes
    ----------
    as_of
        What came in before this moment is what the night knows; whole seconds.
    now
        The clock on the wall: for what happens today, however old the night is.
    say
        Gets a line before each step.
    lock
        What keeps other nights out; None: nothing does, as where a step runs outside of a night.
    ahead
        The registry and the workers that its steps share; None: each step opens its own.
    """

    date: date
    as_of: datetime
    environment: Environment
    now: Callable[[], datetime]
    say: Callable[[str], None]
    lock: Lock | None = None
    ahead: Ahead | None = None

    def check_lock(self) -> None:
        """Stop a night whose lock is lost, before it writes what another night may write too.

        Raises
        ------
        LockLostError
            It is lost.
        """
        if self.lock is not None:
            self.lock.check()

    @cached_property
    def registry(self) -> "Registry":
        """The model registry; the first use imports MLflow, some seconds, unless that has begun."""
        if self.ahead is not None:
            self.ahead.wait()  # and no import goes on beside a step's own
        return self.environment.registry()

    @contextmanager
    def spreading(self, here: Spread) -> Iterator[Spread]:
        """Lend what does work in parts: the night's workers where it has any, else `here`."""
        settings = self.environment.settings
        if self.ahead is not None and not are_elsewhere(settings):
            yield self.ahead.spread(here)
            return
        if self.ahead is not None:
            self.ahead.wait()  # no import goes on beside a step's own
        # A scheduler elsewhere may be another by now: each step asks for it anew.
        with open_workers(settings, here=here) as spread:
            yield spread

    def outcome(self, step: str) -> Outcome:
        """Return what a step of this night came to; empty where it was not done."""
        found = nights.steps(self.environment.engine, self.date).get(step)
        return found.outcome if found is not None and found.status == "done" else {}
