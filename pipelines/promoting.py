"""Candidates of a night beside what they would follow, and what the gates say of each."""

import json
from typing import TYPE_CHECKING

from features.nights import Outcome
from pipelines.nights.night import Night

if TYPE_CHECKING:
    from training.review.promotion import Decision
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

OLDER = "older"
"""The gate of a night of the past, caught up after later ones."""
NOTHING_BETTER = frozenset({"gain", "effective_n", "evidence", OLDER})
"""Gates that say only that nothing better was shown; any other one asks for a look."""
DATA = "data"
"""The gate of a day whose data is broken."""
WHO = "bondhu nightly"
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


def decided(night: Night) -> dict[str, Outcome]:
    """Return model -> what was decided, in the order of `MODELS`.

    Of the early ones that is known where the night came no further, too.
    """
    early = {name: night.outcome(step) for name, step in EARLY.items()}
    found = {name: one for name, one in early.items() if one} | night.outcome("promote")
    return {name: found[name] for name in MODELS if name in found}


def promote_one(night: Night, name: str) -> Outcome:
    """Return a model's version, whether it was promoted, by which gate it was declined, and why."""
    trained = night.outcome(MODELS[name])
    if "version" not in trained:
        return {"promoted": False, "gate": None, "message": trained.get("skipped", "")}
    version = night.registry.version(name, trained["version"])
    broken = night.outcome("watch").get("broken", [])
    night.check_lock()  # another night may be deciding
    if broken:
        decision = _declined(version, DATA, "; ".join(broken))
    elif later := _fitted_later(night, version):
        decision = _declined(version, OLDER, f"{later} was fitted as of a later moment")
    else:
        decision = _standing(night, version) or _decide(night, version)
    return {
        "version": version.number,
        "promoted": decision.promoted,
        "gate": decision.gate,
        "message": decision.message,
    }


def _declined(version: "Version", gate: str, why: str) -> "Decision":
    from training.review.promotion import Decision  # noqa: PLC0415 - with the registry

    return Decision(False, gate, f"{version} declined by gate {gate}: {why}")


def _fitted_later(night: Night, version: "Version") -> "Version | None":
    """Return the champion, if it knows what came in after this night.

    A night of the past may not take its place. The prior, set by hand, knows nothing.
    """
    from training.runs import BY_HAND, FITTED_FROM_TAG  # noqa: PLC0415 - with the registry

    champion = night.registry.champion(version.name)
    if champion is None or champion.tags.get(FITTED_FROM_TAG) == BY_HAND:
        return None
    fitted_at = night.registry.run(champion.run_id).started_at
    return champion if fitted_at is not None and fitted_at > night.as_of else None


def _decide(night: Night, version: "Version") -> "Decision":
    from training.audio_estimator import promote_if_it_helps  # noqa: PLC0415 - imports scipy
    from training.review.promotion import promote as decide  # noqa: PLC0415 - with the registry

    if version.name == "audio_estimator":
        return promote_if_it_helps(night.registry, version, who=WHO, now=night.now())
    return decide(night.registry, version.name, version.number, who=WHO, now=night.now())


def _standing(night: Night, version: "Version") -> "Decision | None":
    """Return what was decided before this step was killed, and carry it out to its end.

    A champion that somebody set since, as by a rollback, stays.
    """
    with night.registry.turn(version.name):
        return _carried_out(night, night.registry.version(version.name, version.number))


def _carried_out(night: Night, version: "Version") -> "Decision | None":
    from training.review.promotion import Decision, history  # noqa: PLC0415 - with the registry
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
    later = [one for one in history(night.registry, version.name) if one.promoted][-1:]
    if entry["promoted"] and all(one.number == version.number for one in later):
        night.registry.set_alias(version.name, CHAMPION, version.number)
    return Decision(bool(entry["promoted"]), entry["gate"], str(entry["message"]))
