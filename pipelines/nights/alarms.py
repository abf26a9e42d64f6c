"""The verdict on a night: what was promoted, what was declined, what somebody should look at."""

from collections.abc import Sequence
from dataclasses import dataclass

from features import nights
from features.nights import Outcome
from pipelines.nights.night import Night
from pipelines.promoting import DATA, NOTHING_BETTER, decided


@dataclass(frozen=True)
class Verdict:
    """How a night went.

    Attributes
    ----------
    alarms
        What is beyond its limits, the gravest first; the report begins with them.
    promoted, declined
        One line for each model that was, or that a gate kept back.
    """

    exit_code: int
    alarms: Sequence[str]
    promoted: Sequence[str]
    declined: Sequence[str]

    def outcome(self) -> Outcome:
        """Return what is kept of it."""
        return {
            "alarms": list(self.alarms),
            "promoted": list(self.promoted),
            "declined": list(self.declined),
        }


def verdict(night: Night, failure: str | None) -> Verdict:
    """Return the verdict on a night.

    Parameters
    ----------
    failure
        What ended it before its end; None: nothing did.
    """
    watched = night.outcome("watch")
    decisions = decided(night).values()
    beyond = [line for kind in ("broken", "drifted", "below") for line in watched.get(kind, [])]
    declined = [
        one["message"]
        for one in decisions
        if one["gate"] is not None and not one["promoted"]
        and one["gate"] not in NOTHING_BETTER | {DATA}
    ]  # fmt: skip
    failed = [f"failed: {failure}"] if failure else []
    code = 30 if failure else 20 if beyond else 10 if declined else 0
    return Verdict(
        code,
        [*failed, *beyond, *declined],
        [one["message"] for one in decisions if one["promoted"]],
        [one["message"] for one in decisions if not one["promoted"] and one["gate"]],
    )


def unfinished(night: Night) -> list[str]:
    """Return the steps of a night that failed, with why."""
    found = nights.steps(night.environment.engine, night.date)
    return [
        f"{one.step}: {one.outcome.get('error', 'broke off')}"
        for one in found.values()
        if one.status == "failed"
    ]
