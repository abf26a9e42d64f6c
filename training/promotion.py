"""Promotion: a version becomes the champion only where the evidence says that it is better.

Four gates, asked in this order: `evidence` (a model fitted from histories may follow only the
prior, or one fitted before there was a co-listening model to weigh: what people play by themselves
does not say what they choose from a list), `baseline` (it
was compared with today's champion), `gain` (the lower bound of its gain is above 0), `stage` (no
stage is worse by more than chance). Every decision is kept as a tag of the version.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from recommender.cold_start import Stage
from training.errors import TrainingError
from training.evaluation import GAIN
from training.intervals import Interval
from training.runs import (
    BASELINE,
    CHAMPION,
    COLISTEN_TAG,
    COMPARED_WITH,
    FITTED_FROM_TAG,
    HISTORIES,
    Version,
)

PRIOR_VERSION = 1
DECISION = "decision."
"""Tags: decision.1, decision.2 ... in the order in which they were taken."""


class Versions(Protocol):
    """What promotion needs of `training.registry.Registry`."""

    def version(self, name: str, number: int) -> Version:
        """Return one version."""
        ...

    def champion(self, name: str) -> Version | None:
        """Return the version that is served."""
        ...

    def metrics(self, run_id: str) -> Mapping[str, float]:
        """Return a run's metrics."""
        ...

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Let an alias name a version."""
        ...

    def set_tag(self, version: Version, key: str, value: str) -> None:
        """Write a tag of a version."""
        ...


@dataclass(frozen=True)
class Decision:
    """Whether a version was promoted.

    Attributes
    ----------
    gate
        The gate that spoke against it (and was overruled, if it was promoted), None if none did.
    message
        One line.
    """

    promoted: bool
    gate: str | None
    message: str


def promote(
    registry: Versions, name: str, version: int, *, force: bool = False, reason: str | None = None
) -> Decision:
    """Make a version the champion if the gates let it through, or by force.

    Raises
    ------
    RegistryError
        There is no such version.
    TrainingError
        Force without a reason.
    """
    if force and not (reason and reason.strip()):
        raise TrainingError("a promotion by force needs a reason: add --reason TEXT")
    candidate = registry.version(name, version)
    champion = registry.champion(name)
    if champion is not None and champion.number == version:
        return Decision(False, None, f"{candidate} is the champion already")
    gate, objection = _objection(candidate, champion, registry.metrics(candidate.run_id))
    if gate is None:
        decision = Decision(True, None, f"{candidate} promoted: {objection}")
    elif force:
        decision = Decision(True, gate, f"{candidate} promoted by force ({reason}): {objection}")
    else:
        decision = Decision(False, gate, f"{candidate} declined by gate {gate}: {objection}")
    # The record first: there is never a champion without one.
    _record(registry, candidate, champion, decision, reason)
    if decision.promoted:
        registry.set_alias(name, CHAMPION, version)
    return decision


def _objection(
    candidate: Version, champion: Version | None, metrics: Mapping[str, float]
) -> tuple[str | None, str]:
    """Return the first gate that objects and why; None and the evidence where none does."""
    if champion is None:
        return None, "there was no champion"
    over = f"over {candidate.tags.get(COMPARED_WITH, f'version {champion.number}')}"
    weighs_more = COLISTEN_TAG in candidate.tags and COLISTEN_TAG not in champion.tags
    is_from_histories = candidate.tags.get(FITTED_FROM_TAG) == HISTORIES
    if is_from_histories and champion.number != PRIOR_VERSION and not weighs_more:
        return "evidence", (
            f"fitted from histories alone, it may follow version {PRIOR_VERSION} only,"
            f" and the champion is version {champion.number}"
        )
    baseline = candidate.tags.get(BASELINE)
    if baseline != str(champion.number):
        compared = f"version {baseline}" if baseline else "no version"
        return "baseline", (
            f"it was compared with {compared}, the champion is version {champion.number}:"
            " train again"
        )
    gain = _interval(metrics, GAIN)
    if not gain.low > 0:
        return "gain", f"its gain {over} is {gain}, the lower bound misses 0 by {abs(gain.low):.4f}"
    for stage in Stage:
        at_stage = _interval(metrics, f"{stage}/{GAIN}")
        if at_stage.high < 0:
            return "stage", (
                f"its gain {over} in {stage} is {at_stage}, the upper bound misses 0 by"
                f" {-at_stage.high:.4f}"
            )
    return None, f"its gain {over} is {gain}"


def _interval(metrics: Mapping[str, float], name: str) -> Interval:
    try:
        return Interval(metrics[name], metrics[f"{name}_low"], metrics[f"{name}_high"])
    except KeyError as missing:
        raise TrainingError(f"its run has no metric {missing}: train again") from None


def _record(
    registry: Versions,
    candidate: Version,
    champion: Version | None,
    decision: Decision,
    reason: str | None,
) -> None:
    taken = sum(key.startswith(DECISION) for key in candidate.tags)
    entry = asdict(decision) | {
        "reason": reason,
        "previous_champion": None if champion is None else champion.number,
    }
    registry.set_tag(candidate, f"{DECISION}{taken + 1}", json.dumps(entry, sort_keys=True))
