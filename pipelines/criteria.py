"""SEED.md's eight success criteria, computed from what is stored; none is claimed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from features import engagement, probes
from features.engagement import Figure
from features.targets import SHARE, TARGETS, Target

CACHE_DAYS = 7
TIMES = ("cached", "initial", "queries")


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
    """Return the eight criteria over [since, until), in the order of SEED.md."""
    days = (until - since) / timedelta(days=1)
    window = f"{days:g} days" if days >= 1 else f"{24 * days:.1f} h"
    with engine.connect() as connection:
        figures = service(connection, since=since, until=until)
        figures["long_plays"] = engagement.long_plays(connection, since=since, until=until)
        figures["new_artists"] = engagement.new_artists(connection, since=since, until=until)
        figures["entropy_bits"] = engagement.entropy(connection, since=since, until=until)
    figures["cache_hits"] = cache_hits()
    of_cache = f"{CACHE_DAYS} days, all workers"  # whatever the window: Redis keeps no more
    return [
        _criterion(target, figures[name], of_cache if name == "cache_hits" else window)
        for name, target in TARGETS.items()
    ]


def service(connection: sa.Connection, *, since: datetime, until: datetime) -> dict[str, Figure]:
    """Return what the prober saw of the service: three times and the uptime.

    Times are those within which 95% of all answers (or queries) ended, as the upper end of the bin
    of the service's histogram that holds them; the prober writes them down, every 30 s.
    """
    found = {
        name: probes.milliseconds(connection, name, share=SHARE, since=since, until=until)
        for name in TIMES
    }
    return found | {"uptime": probes.uptime(connection, since=since, until=until)}


def _criterion(target: Target, figure: Figure, window: str) -> Criterion:
    if figure.value is None:
        return Criterion(target.label, target.said, "nothing measured", None, window, 0, "none")
    actual, is_met = target.shown(figure.value), target.is_met(figure.value)
    return Criterion(target.label, target.said, actual, is_met, window, figure.n, figure.origin)
