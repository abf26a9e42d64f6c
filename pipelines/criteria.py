"""SEED.md's eight success criteria, computed from what is stored; none is claimed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isinf

import sqlalchemy as sa

from features import engagement, probes
from features.engagement import Figure

SHARE = 0.95
CACHE_DAYS = 7


@dataclass(frozen=True)
class Criterion:
    """One row.

    Attributes
    ----------
    actual
        As text with its unit; 'nothing measured' where there is no case.
    met
        None where there is no case.
    origin
        `real`, `simulated` or `mixed`.
    """

    metric: str
    target: str
    actual: str
    met: bool | None
    window: str
    n: int
    origin: str


def criteria(
    engine: sa.Engine, *, since: datetime, until: datetime, cache_hits: Callable[[], Figure]
) -> list[Criterion]:
    """Return the eight criteria over [since, until), in the order of SEED.md.

    Times are those within which 95% of all answers (or queries) ended, as the upper end of the bin
    of the service's histogram that holds them; the prober writes them down, every 30 s.
    """
    days = (until - since) / timedelta(days=1)
    window = f"{days:g} days" if days >= 1 else f"{24 * days:.1f} h"
    with engine.connect() as connection:

        def within(name: str) -> Figure:
            return probes.milliseconds(connection, name, share=SHARE, since=since, until=until)

        cached, initial, query = within("cached"), within("initial"), within("queries")
        heard = engagement.long_plays(connection, since=since, until=until)
        new = engagement.new_artists(connection, since=since, until=until)
        bits = engagement.entropy(connection, since=since, until=until)
        up = probes.uptime(connection, since=since, until=until)
    hits = cache_hits()
    of_cache = f"{CACHE_DAYS} days, all workers"  # whatever the window: Redis keeps no more
    figures = (cached, initial, query, hits, heard, new, bits, up)
    return [
        promise.kept(figure, of_cache if figure is hits else window)
        for promise, figure in zip(PROMISES, figures, strict=True)
    ]


@dataclass(frozen=True)
class Promise:
    """A criterion before it is measured."""

    metric: str
    target: str
    is_met: Callable[[float], bool]
    shown: Callable[[float], str]

    def kept(self, figure: Figure, window: str) -> Criterion:
        """Return the row of a figure."""
        if figure.value is None:
            nothing = "nothing measured"
            return Criterion(self.metric, self.target, nothing, None, window, 0, "none")
        actual, is_met = self.shown(figure.value), self.is_met(figure.value)
        return Criterion(self.metric, self.target, actual, is_met, window, figure.n, figure.origin)


def _ms(value: float) -> str:
    return "over the last bin" if isinf(value) else f"<= {value:g} ms"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}%"


def _two(value: float) -> str:
    return f"{value:.2f}"


PROMISES = (
    Promise("API response (cached), 95%", "< 200 ms", lambda v: v < 200, _ms),
    Promise("Initial recommendation, 95%", "< 3000 ms", lambda v: v < 3000, _ms),
    Promise("Database query, 95%", "< 50 ms", lambda v: v < 50, _ms),
    Promise("Cache hit rate", "> 80%", lambda v: v > 0.8, _percent),
    Promise("Tracks played > 30 s", "> 60%", lambda v: v > 0.6, _percent),
    Promise("New artists a listener and month", ">= 5", lambda v: v >= 5, _two),
    Promise("Diversity, entropy in bits", "> 3.5", lambda v: v > 3.5, _two),
    Promise("Uptime, of 30 s probes", ">= 99.5%", lambda v: v >= 0.995, _percent),
)
"""In the order of SEED.md."""
