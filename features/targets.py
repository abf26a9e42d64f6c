"""The targets of SEED.md's eight success criteria, for whoever computes, watches or shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isinf

SHARE = 0.95
"""Of answers and queries, whose times have to be within a target."""


class Direction(StrEnum):
    """On which side of its limit a figure has to be."""

    UNDER = "<"
    OVER = ">"
    AT_LEAST = ">="


@dataclass(frozen=True)
class Target:
    """What a figure has to be.

    Attributes
    ----------
    of
        What the figure is taken over, where its name does not say it.
    limit
        As the figure is: milliseconds, a share of 1, a mean.
    unit
        As it is shown: `ms`, `%` (of a share), or none.
    """

    name: str
    of: str
    direction: Direction
    limit: float
    unit: str

    def is_met(self, value: float, limit: float | None = None) -> bool:
        """Return whether a figure is on the right side of the limit, or of another one.

        Examples
        --------
        >>> uptime, cached = TARGETS["uptime"], TARGETS["cached"]
        >>> uptime.is_met(0.995), cached.is_met(200.0), cached.is_met(200.0, 250.0)
        (True, False, True)
        """
        least = self.limit if limit is None else limit
        if self.direction is Direction.UNDER:
            return value < least
        return value > least if self.direction is Direction.OVER else value >= least

    @property
    def label(self) -> str:
        """The name and what it is taken over."""
        return ", ".join(filter(None, (self.name, self.of)))

    @property
    def said(self) -> str:
        """The target with its unit."""
        return self.said_of(self.limit)

    def said_of(self, limit: float) -> str:
        """Return another limit as the target is said.

        Examples
        --------
        >>> TARGETS["cached"].said, TARGETS["uptime"].said, TARGETS["uptime"].said_of(0.9)
        ('< 200 ms', '>= 99.5%', '>= 90%')
        """
        return f"{self.direction} {self.scaled(limit):g}{self.ending}"

    @property
    def ending(self) -> str:
        """The unit as it follows a number."""
        return " ms" if self.unit == "ms" else self.unit

    def scaled(self, value: float) -> float:
        """Return a figure in the target's unit."""
        return 100 * value if self.unit == "%" else value

    def shown(self, value: float) -> str:
        """Return a figure as text; a time is the end of the bin of a histogram that holds it.

        Examples
        --------
        >>> TARGETS["cached"].shown(100.0), TARGETS["uptime"].shown(0.9971)
        ('<= 100 ms', '99.71%')
        """
        if self.unit == "ms":
            return "over the last bin" if isinf(value) else f"<= {value:g} ms"
        return f"{self.scaled(value):.2f}{self.ending}"


_TIMES = f"{SHARE:.0%}"
TARGETS: Mapping[str, Target] = {
    "cached": Target("API response (cached)", _TIMES, Direction.UNDER, 200.0, "ms"),
    "initial": Target("Initial recommendation", _TIMES, Direction.UNDER, 3000.0, "ms"),
    "queries": Target("Database query", _TIMES, Direction.UNDER, 50.0, "ms"),
    "cache_hits": Target("Cache hit rate", "", Direction.OVER, 0.8, "%"),
    "long_plays": Target("Tracks played > 30 s", "", Direction.OVER, 0.6, "%"),
    "new_artists": Target("New artists a listener and month", "", Direction.AT_LEAST, 5.0, ""),
    "entropy_bits": Target("Diversity, entropy in bits", "", Direction.OVER, 3.5, ""),
    "uptime": Target("Uptime", "of 30 s probes", Direction.AT_LEAST, 0.995, "%"),
}
"""Name of a figure -> its target, in the order of SEED.md."""
