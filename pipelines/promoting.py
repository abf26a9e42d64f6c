"""Candidates of a night beside what they would follow, and what the gates say of each."""

import json
from typing import TYPE_CHECKING

from features.nights import Outcome
from pipelines.nights.night import Night

if TYPE_CHECKING:
    from training.promotion import Decision
    from training.runs import Version

MODELS = {
    "audio_estimator": "train_audio_estimator",
    "colisten": "train_colisten",
    "qtable": "consolidate_qtables",
    "scorer": "train_scorer",
}
"""Model -> the step that trains it, in the order in which they are decided on."""

EARLY = {"colisten": "promote_colisten"}
"""Model -> the step that decides on it ahead of the others."""

NOTHING_BETTER = frozenset({"gain", "effective_n", "evidence"})
"""Gates that say only that nothing better was shown; any other one asks for a look."""
DATA = "data"
"""The gate of a day whose data is broken."""
DECISION = "decision."
PROMOTION = "promotion"
"""Kind of a decision, where it is named: a rollback is not this night's."""


def evaluate(night: Night) -> Outcome:
    """Return model -> version, champion before, and the run's figures that have an interval."""
    found: Outcome = {}
    for name, step in MODELS.items():
        trained = night.outcome(step)
        if "version" not in trained:
            continue
        metrics = night.registry.metrics(trained["run_id"])
        version = night.registry.version(name, trained["version"])
        found[name] = {
            "version": trained["version"],
            "compared_with": version.tags.get("baseline_version", "none"),
            "metrics": {
                key: [metrics[key], metrics[f"{key}_low"], metrics[f"{key}_high"]]
                for key in sorted(metrics)
                if f"{key}_low" in metrics and f"{key}_high" in metrics and "/" not in key
            },
        }
    return found


def promote(night: Night) -> Outcome:
    """Return model -> what `promote_one` says of it; the early ones were decided on before."""
    return {
        name: night.outcome(EARLY[name]) if name in EARLY else promote_one(night, name)
        for name in MODELS
    }


def promote_one(night: Night, name: str) -> Outcome:
    """Return a model's version, whether it was promoted, by which gate it was declined, and why."""
    trained = night.outcome(MODELS[name])
    if "version" not in trained:
        return {"promoted": False, "gate": None, "message": trained.get("skipped", "")}
    version = night.registry.version(name, trained["version"])
    broken = night.outcome("watch").get("broken", [])
    if broken:
        decision = _declined(version, broken)
    else:
        decision = _standing(night, version) or _decide(night, version)
    return {
        "version": version.number,
        "promoted": decision.promoted,
        "gate": decision.gate,
        "message": decision.message,
    }


def _declined(version: "Version", broken: list[str]) -> "Decision":
    from training.promotion import Decision  # noqa: PLC0415 - with the registry

    return Decision(False, DATA, f"{version} declined by gate {DATA}: {'; '.join(broken)}")


def _decide(night: Night, version: "Version") -> "Decision":
    from training.audio_estimator import promote_if_it_helps  # noqa: PLC0415 - imports scipy
    from training.promotion import promote as decide  # noqa: PLC0415 - with the registry

    if version.name == "audio_estimator":
        return promote_if_it_helps(night.registry, version)
    return decide(
        night.registry, version.name, version.number, who="bondhu nightly", now=night.now()
    )


def _standing(night: Night, version: "Version") -> "Decision | None":
    """Return what was decided before this step was killed, and carry it out to its end."""
    from training.promotion import Decision  # noqa: PLC0415 - with the registry
    from training.runs import CHAMPION  # noqa: PLC0415

    taken = sorted(
        (int(key.removeprefix(DECISION)), value)
        for key, value in version.tags.items()
        if key.removeprefix(DECISION).isdigit() and key.startswith(DECISION)
    )
    if not taken:
        return None
    entry = json.loads(taken[-1][1])
    if entry.get("kind", PROMOTION) != PROMOTION:
        return None
    if entry["promoted"]:
        night.registry.set_alias(version.name, CHAMPION, version.number)
    return Decision(bool(entry["promoted"]), entry["gate"], str(entry["message"]))
