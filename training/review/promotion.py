"""Promotion: a version becomes the champion only where the gates let it through, or by force.

Every decision is kept as a tag of the version, written before the alias changes: who took it, when,
what each gate said, and why. The champion before is one call away (`rollback`). Two decisions about
one model wait for each other: what the second reads holds what the first wrote.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Protocol

from training.errors import TrainingError
from training.review.gates import Case, Finding, findings
from training.review.margins import Margins
from training.runs import CHAMPION, StoredRun, Version

DECISION = "decision."
"""Tags: decision.1, decision.2 ... in the order in which they were taken."""
PROMOTION, ROLLBACK = "promotion", "rollback"
SOMEBODY = "unnamed"


class Versions(Protocol):
    """What promotion needs of `training.registry.Registry`."""

    def version(self, name: str, number: int) -> Version:
        """Return one version."""
        ...

    def versions(self, name: str) -> Sequence[Version]:
        """Return all versions of a model."""
        ...

    def champion(self, name: str) -> Version | None:
        """Return the version that is served."""
        ...

    def run(self, run_id: str) -> StoredRun:
        """Return a run."""
        ...

    def turn(self, name: str) -> AbstractContextManager[None]:
        """Lend the turn to decide on a model; others wait until the block ends."""
        ...

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Let an alias name a version."""
        ...

    def set_tag(self, version: Version, key: str, value: str) -> None:
        """Write a tag of a version."""
        ...


@dataclass(frozen=True)
class Decision:
    """Whether a version was made the champion.

    Attributes
    ----------
    gate
        The gate that spoke against it (and was overruled, if it was promoted), None if none did.
    message
        One line.
    findings
        What every gate said.
    """

    promoted: bool
    gate: str | None
    message: str
    findings: Sequence[Finding] = ()


@dataclass(frozen=True)
class Entry:
    """One decision in the history of a model.

    Attributes
    ----------
    kind
        promotion or rollback.
    number
        The version that it was about.
    previous_champion
        The version that was served before, None where none was.
    at
        ISO 8601, UTC; empty in records older than this field.
    margins
        Those that were not the default ones.
    """

    kind: str
    number: int
    promoted: bool
    gate: str | None
    message: str
    reason: str | None
    previous_champion: int | None
    who: str
    at: str
    margins: Mapping[str, float]
    findings: Sequence[Finding]


def promote(
    registry: Versions,
    name: str,
    version: int,
    *,
    margins: Margins | None = None,
    force: bool = False,
    reason: str | None = None,
    who: str = SOMEBODY,
    now: datetime | None = None,
) -> Decision:
    """Make a version the champion if the gates let it through, or by force.

    Parameters
    ----------
    margins
        None: those of `Margins()`.
    now
        When it is decided; None: the clock's time.

    Raises
    ------
    RegistryError
        There is no such version.
    TrainingError
        Force without a reason, or a run without the metrics that gates read.
    """
    if force and not (reason and reason.strip()):
        raise TrainingError("a promotion by force needs a reason: add --reason TEXT")
    with registry.turn(name):
        candidate = registry.version(name, version)
        champion = registry.champion(name)
        if champion is not None and champion.number == version:
            return Decision(False, None, f"{candidate} is the champion already")
        run = registry.run(candidate.run_id)
        margins = margins or Margins()
        case = Case(candidate, champion, run.metrics, run.tags, margins)
        decision = _decided(case, findings(case), reason if force else None)
        by = _By(PROMOTION, reason, who, now, margins.changed())
        _record(registry, candidate, champion, decision, by)
        if decision.promoted:
            registry.set_alias(name, CHAMPION, version)
    return decision


def rollback(
    registry: Versions,
    name: str,
    *,
    reason: str | None = None,
    who: str = SOMEBODY,
    now: datetime | None = None,
) -> Decision:
    """Let the champion before today's serve again; twice goes back by two.

    No gate is asked: it served before.

    Raises
    ------
    TrainingError
        There is no champion, or none before it.
    """
    with registry.turn(name):
        champion = registry.champion(name)
        if champion is None:
            raise TrainingError(
                f"{name} has no champion to roll back from: promote a version first"
            )
        before = _line(history(registry, name), champion.number)[:-1]
        if not before:
            raise TrainingError(f"{champion} is the first champion: there is none to go back to")
        returning = registry.version(name, before[-1])
        decision = Decision(True, None, f"{returning} is the champion again, after {champion}")
        _record(registry, returning, champion, decision, _By(ROLLBACK, reason, who, now, {}))
        registry.set_alias(name, CHAMPION, returning.number)
    return decision


def carry_out(
    registry: Versions,
    version: Version,
    decision: Decision,
    *,
    who: str = SOMEBODY,
    now: datetime | None = None,
) -> None:
    """Write a decision down that was taken without the gates, and let the alias follow it."""
    by = _By(PROMOTION, None, who, now, {})
    with registry.turn(version.name):
        # As it is now: somebody else's decision may have come since it was read.
        latest = registry.version(version.name, version.number)
        _record(registry, latest, registry.champion(version.name), decision, by)
        if decision.promoted:
            registry.set_alias(version.name, CHAMPION, version.number)


def history(registry: Versions, name: str) -> list[Entry]:
    """Return every decision about a model, the oldest first."""
    entries = [
        _entry(version, json.loads(version.tags[f"{DECISION}{n}"]))
        for version in registry.versions(name)
        for n in range(1, _taken(version) + 1)
    ]
    return sorted(entries, key=lambda entry: entry.at)


def _decided(case: Case, found: Sequence[Finding], force: str | None) -> Decision:
    candidate = case.candidate
    against = next((finding for finding in found if not finding.passed), None)
    if against is not None:
        end = f"by gate {against.gate}: {against.message}"
        if force is None:
            return Decision(False, against.gate, f"{candidate} declined {end}", found)
        message = f"{candidate} promoted by force ({force}): {against.message}"
        return Decision(True, against.gate, message, found)
    if case.champion is None:
        return Decision(True, None, f"{candidate} promoted: there was no champion", found)
    gain = next(finding.message for finding in found if finding.gate == "gain")
    return Decision(True, None, f"{candidate} promoted: {gain}", found)


def _line(entries: Sequence[Entry], champion: int) -> list[int]:
    """Return the champions that led to today's, the first one first, as rollbacks left them."""
    line: list[int] = []
    for entry in (entry for entry in entries if entry.promoted):
        if entry.previous_champion is not None:
            _reach(line, entry.previous_champion)
        if entry.kind == ROLLBACK:
            _cut(line, entry.number)
        else:
            line.append(entry.number)
    _reach(line, champion)
    return line


def _reach(line: list[int], number: int) -> None:
    """End the line with a version; one that was set without a record joins it."""
    if not line or line[-1] != number:
        line.append(number)


def _cut(line: list[int], number: int) -> None:
    while line and line[-1] != number:
        line.pop()
    _reach(line, number)


def _taken(version: Version) -> int:
    return sum(key.startswith(DECISION) for key in version.tags)


def _entry(version: Version, kept: dict[str, object]) -> Entry:
    previous, gate, reason = (kept.get(key) for key in ("previous_champion", "gate", "reason"))
    said, margins = kept.get("findings", []), kept.get("margins", {})
    return Entry(
        kind=str(kept.get("kind", PROMOTION)),
        number=version.number,
        promoted=bool(kept["promoted"]),
        gate=None if gate is None else str(gate),
        message=str(kept["message"]),
        reason=None if reason is None else str(reason),
        previous_champion=previous if isinstance(previous, int) else None,
        who=str(kept.get("who", SOMEBODY)),
        at=str(kept.get("at", "")),
        margins=margins if isinstance(margins, dict) else {},
        findings=[Finding(**one) for one in said] if isinstance(said, list) else [],
    )


@dataclass(frozen=True)
class _By:
    """How a decision came about."""

    kind: str
    reason: str | None
    who: str
    now: datetime | None
    margins: Mapping[str, float]


def _record(
    registry: Versions, version: Version, champion: Version | None, decision: Decision, by: _By
) -> None:
    """Write a decision down. The record comes first: there is never a champion without one."""
    at = (by.now or datetime.now(UTC)).astimezone(UTC)
    entry = asdict(decision) | {
        "kind": by.kind,
        "reason": by.reason,
        "previous_champion": None if champion is None else champion.number,
        "who": by.who,
        "at": at.isoformat(timespec="microseconds"),
        "margins": by.margins,
    }
    key = f"{DECISION}{_taken(version) + 1}"
    registry.set_tag(version, key, json.dumps(entry, sort_keys=True))
