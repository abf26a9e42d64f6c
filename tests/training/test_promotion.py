import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from recommender.cold_start import Stage
from training.errors import RegistryError, TrainingError
from training.evaluation import GAIN
from training.promotion import promote
from training.runs import BASELINE, CHAMPION, FITTED_FROM_TAG, HISTORIES, SCORER, Version

Interval = tuple[float, float, float]


class FakeVersions:
    """A registry in a dictionary; version 1 is the champion."""

    def __init__(self) -> None:
        self.all = {1: Version(SCORER, 1, "run1", "", {FITTED_FROM_TAG: "hand"})}
        self.runs: dict[str, dict[str, float]] = {"run1": {}}
        self.served = 1

    def add(
        self,
        gain: Interval,
        *,
        baseline: int = 1,
        fitted_from: str = HISTORIES,
        **stages: Interval,
    ) -> int:
        number = len(self.all) + 1
        tags = {FITTED_FROM_TAG: fitted_from, BASELINE: str(baseline)}
        self.all[number] = Version(SCORER, number, f"run{number}", "", tags)
        named = {GAIN: gain} | {f"{s}/{GAIN}": stages.get(s.value, gain) for s in Stage}
        self.runs[f"run{number}"] = {
            f"{name}{suffix}": value
            for name, interval in named.items()
            for suffix, value in zip(("", "_low", "_high"), interval, strict=True)
        }
        return number

    def version(self, name: str, number: int) -> Version:
        if number not in self.all:
            raise RegistryError(f"there is no {name} {number}")
        return self.all[number]

    def champion(self, name: str) -> Version | None:
        return self.all.get(self.served)

    def metrics(self, run_id: str) -> Mapping[str, float]:
        return self.runs[run_id]

    def set_alias(self, name: str, alias: str, number: int) -> None:
        assert (name, alias) == (SCORER, CHAMPION)
        self.served = number

    def set_tag(self, version: Version, key: str, value: str) -> None:
        tags = {**self.all[version.number].tags, key: value}
        self.all[version.number] = replace(version, tags=tags)


@pytest.fixture
def versions() -> FakeVersions:
    return FakeVersions()


def test_a_better_model_is_promoted(versions: FakeVersions) -> None:
    number = versions.add((0.02, 0.01, 0.03))
    decision = promote(versions, SCORER, number)
    assert decision.promoted
    assert decision.gate is None
    assert decision.message == (
        "scorer 2 promoted: its gain over version 1 is +0.0200 [+0.0100, +0.0300]"
    )
    assert versions.served == number


@pytest.mark.parametrize(
    ("gain", "missed"), [((0.01, -0.002, 0.03), "0.0020"), ((0.0, 0.0, 0.0), "0.0000")]
)
def test_a_gain_within_chance_is_declined(
    versions: FakeVersions, gain: Interval, missed: str
) -> None:
    decision = promote(versions, SCORER, versions.add(gain))
    assert (decision.promoted, decision.gate, versions.served) == (False, "gain", 1)
    assert f"the lower bound misses 0 by {missed}" in decision.message


def test_a_stage_that_is_worse_declines(versions: FakeVersions) -> None:
    number = versions.add((0.02, 0.01, 0.03), month_2_plus=(-0.02, -0.03, -0.01))
    decision = promote(versions, SCORER, number)
    assert (decision.promoted, decision.gate) == (False, "stage")
    assert "month_2_plus" in decision.message


def test_histories_are_evidence_against_the_prior_only(versions: FakeVersions) -> None:
    promote(versions, SCORER, versions.add((0.02, 0.01, 0.03)))
    decision = promote(versions, SCORER, versions.add((0.02, 0.01, 0.03), baseline=2))
    assert (decision.promoted, decision.gate, versions.served) == (False, "evidence", 2)


def test_feedback_is_evidence_against_any(versions: FakeVersions) -> None:
    promote(versions, SCORER, versions.add((0.02, 0.01, 0.03)))
    number = versions.add((0.02, 0.01, 0.03), baseline=2, fitted_from="feedback")
    assert promote(versions, SCORER, number).promoted


def test_a_comparison_with_another_champion_is_declined(versions: FakeVersions) -> None:
    number = versions.add((0.02, 0.01, 0.03), baseline=5)
    decision = promote(versions, SCORER, number)
    assert (decision.gate, versions.served) == ("baseline", 1)
    assert "compared with version 5, the champion is version 1" in decision.message


def test_force_overrules_a_gate_and_says_why(versions: FakeVersions) -> None:
    number = versions.add((0.0, -0.01, 0.01))
    decision = promote(versions, SCORER, number, force=True, reason="a demonstration")
    assert (decision.promoted, decision.gate, versions.served) == (True, "gain", number)
    assert "by force (a demonstration)" in decision.message


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_force_without_a_reason_is_refused(versions: FakeVersions, reason: str | None) -> None:
    with pytest.raises(TrainingError, match="needs a reason"):
        promote(versions, SCORER, 1, force=True, reason=reason)


def test_every_decision_is_kept(versions: FakeVersions) -> None:
    number = versions.add((0.0, -0.01, 0.01))
    promote(versions, SCORER, number)
    promote(versions, SCORER, number, force=True, reason="looked at by hand")
    tags = versions.all[number].tags
    first, second = json.loads(tags["decision.1"]), json.loads(tags["decision.2"])
    assert (first["promoted"], first["gate"], first["previous_champion"]) == (False, "gain", 1)
    assert (second["promoted"], second["reason"]) == (True, "looked at by hand")


def test_the_champion_stays(versions: FakeVersions) -> None:
    decision = promote(versions, SCORER, 1)
    assert not decision.promoted
    assert decision.message == "scorer 1 is the champion already"


def test_an_unknown_version_is_refused(versions: FakeVersions) -> None:
    with pytest.raises(RegistryError, match="no scorer 9"):
        promote(versions, SCORER, 9)
