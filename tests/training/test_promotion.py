import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from recommender.cold_start import Stage
from training.errors import RegistryError, TrainingError
from training.evaluation.served_lists import GAIN
from training.review.margins import Margins
from training.review.promotion import history, promote, rollback
from training.runs import (
    AUDIO_ESTIMATOR,
    BASELINE,
    CHAMPION,
    COMPARED_WITH,
    FITTED_FROM_TAG,
    HISTORIES,
    IMPRESSIONS,
    REPRODUCED_TAG,
    SCORER,
    StoredRun,
    Version,
)

Interval = tuple[float, float, float]
HEALTHY = {
    "effective_n": 60.0,
    "gain_carriers": 40.0,
    "leaking_values": 0.0,
    "leak_checked_values": 1000.0,
    "barred_rows_used": 0.0,
    "latency_ms": 1.0,
    "champion_latency_ms": 1.0,
    "champion_artist_coverage": 0.5,
}
UNCHANGED = ("gain_artist_coverage", "gain_entropy")


class FakeVersions:
    """A registry in a dictionary; version 1 is the champion."""

    def __init__(self) -> None:
        self.all = {1: Version(SCORER, 1, "run1", "", {FITTED_FROM_TAG: "hand"})}
        self.runs: dict[str, dict[str, float]] = {"run1": {}}
        self.run_tags: dict[str, str] = {}
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
        named |= dict.fromkeys(UNCHANGED, (0.0, 0.0, 0.0))
        self.runs[f"run{number}"] = HEALTHY | {
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

    def versions(self, name: str) -> list[Version]:
        return list(self.all.values())

    def run(self, run_id: str) -> StoredRun:
        metrics = self.runs[run_id]
        return StoredRun(run_id, "", "FINISHED", {}, metrics, self.run_tags, None, None, 0.0)

    def turn(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def set_alias(self, name: str, alias: str, number: int) -> None:
        assert (name, alias) == (self.all[number].name, CHAMPION)
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


def test_a_gain_is_over_the_version_that_it_was_measured_against(versions: FakeVersions) -> None:
    number = versions.add((0.02, 0.01, 0.03), baseline=7)
    decision = promote(versions, SCORER, number)
    said = {finding.gate: finding.message for finding in decision.findings}
    assert said["gain"].startswith("its gain over version 7 is")
    assert (
        said["baseline"] == "it was compared with version 7, the champion is version 1: train again"
    )


@pytest.mark.parametrize(("listeners", "gate"), [(1.0, None), (6.0, "group")])
def test_a_group_of_few_listeners_declines_nothing(
    versions: FakeVersions, listeners: float, gate: str | None
) -> None:
    number = versions.add((0.02, 0.01, 0.03))
    name = f"group/few/{GAIN}"
    lost = {name: -0.09, f"{name}_low": -0.09, f"{name}_high": -0.09}
    versions.runs[f"run{number}"] |= lost | {"group/few/listeners": listeners}
    assert promote(versions, SCORER, number).gate == gate


def test_an_estimator_is_judged_by_its_error(versions: FakeVersions) -> None:
    number = versions.add((0.0, 0.0, 0.0))
    tags = {BASELINE: "1", COMPARED_WITH: "having no model"}
    versions.all[number] = replace(versions.all[number], name=AUDIO_ESTIMATOR, tags=tags)
    gain = {"gain_mae": 0.02, "gain_mae_low": 0.01, "gain_mae_high": 0.03}
    versions.runs[f"run{number}"] = gain
    decision = promote(versions, AUDIO_ESTIMATOR, number)
    assert decision.promoted
    assert decision.message == (
        "audio_estimator 2 promoted: its gain over having no model is +0.0200 [+0.0100, +0.0300]"
    )
    assert versions.served == number
    worse = versions.add((0.0, 0.0, 0.0))
    tags = {BASELINE: str(number), COMPARED_WITH: "having no model"}
    versions.all[worse] = replace(versions.all[worse], name=AUDIO_ESTIMATOR, tags=tags)
    versions.runs[f"run{worse}"] = gain | {"gain_mae_low": -0.01}
    assert promote(versions, AUDIO_ESTIMATOR, worse).gate == "gain"


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


def test_the_lower_bound_must_pass_the_margin_that_was_set(versions: FakeVersions) -> None:
    number = versions.add((0.02, 0.01, 0.03))
    decision = promote(versions, SCORER, number, margins=Margins(gain=0.015))
    assert decision.gate == "gain"
    assert "the lower bound misses 0.015 by 0.0050" in decision.message
    assert history(versions, SCORER)[-1].margins == {"gain": 0.015}


@pytest.mark.parametrize(
    ("planted", "gate", "said"),
    [
        ({"effective_n": 6.0}, "effective_n", "6.0 listeners in effect, the floor is 30, 24.0"),
        ({"gain_carriers": 2.5}, "effective_n", "carried by 2.5 listeners"),
        ({"leaking_values": 12.0}, "leak", "12 of 1000 component values"),
        ({"leak_checked_values": 0.0}, "leak", "0 of 0 component values"),
        ({"barred_rows_used": 3.0}, "trainable", "it used 3 rows that may not be trained on"),
        ({"latency_ms": 4.5}, "latency", "1.5000 beyond its margin of 2.0000"),
        (
            {"gain_entropy": -0.5, "gain_entropy_low": -0.6, "gain_entropy_high": -0.4},
            "entropy",
            "0.2000 beyond its margin of 0.3000",
        ),
        (
            {
                "gain_artist_coverage": -0.15,
                "gain_artist_coverage_low": -0.2,
                "gain_artist_coverage_high": -0.1,
            },
            "coverage",
            "0.0500 beyond its margin of 0.1000",
        ),
        (
            {f"group/short/{GAIN}{end}": -0.03 for end in ("", "_low", "_high")},
            "group",
            "in group short is -0.0300 [-0.0300, -0.0300], 0.0200 beyond its margin of 0.0100",
        ),
        (
            {f"off_policy_gain{end}": -0.1 for end in ("", "_low", "_high")}
            | {"off_policy_effective_n": 45.0},
            "off_policy",
            "changes by -0.1000 [-0.1000, -0.1000], 45.0 listeners in effect",
        ),
        ({"train_serve_mismatch": 0.02, "mismatch_lists": 500.0}, "mismatch", "0.0190 too many"),
    ],
)
def test_every_planted_defect_is_caught_by_its_gate(
    versions: FakeVersions, planted: dict[str, float], gate: str, said: str
) -> None:
    versions.all[1] = replace(versions.all[1], tags={FITTED_FROM_TAG: IMPRESSIONS})
    number = versions.add((0.02, 0.01, 0.03), fitted_from=IMPRESSIONS)
    versions.runs[f"run{number}"] |= planted
    decision = promote(versions, SCORER, number)
    assert (decision.promoted, decision.gate, versions.served) == (False, gate, 1)
    assert said in decision.message


@pytest.mark.parametrize("name", ["entropy", "artist_coverage"])
def test_the_prior_s_variety_is_no_standard(versions: FakeVersions, name: str) -> None:
    number = versions.add((0.02, 0.01, 0.03))
    fall = {f"gain_{name}": -0.5, f"gain_{name}_low": -0.6, f"gain_{name}_high": -0.4}
    versions.runs[f"run{number}"] |= fall
    decision = promote(versions, SCORER, number)
    assert decision.promoted
    (finding,) = [f for f in decision.findings if f.gate == name.removeprefix("artist_")]
    assert finding.message.endswith("not held against it: the prior was set by hand")


def test_a_run_that_gave_another_model_is_declined(versions: FakeVersions) -> None:
    number = versions.add((0.02, 0.01, 0.03))
    versions.run_tags = {REPRODUCED_TAG: "no"}
    assert promote(versions, SCORER, number).gate == "reproducible"
    versions.run_tags = {REPRODUCED_TAG: "yes"}
    assert promote(versions, SCORER, number).promoted


def test_a_log_of_few_listeners_decides_nothing(versions: FakeVersions) -> None:
    number = versions.add((0.02, 0.01, 0.03))
    loss = {f"off_policy_gain{end}": -0.1 for end in ("", "_low", "_high")}
    versions.runs[f"run{number}"] |= loss | {"off_policy_effective_n": 4.0}
    assert promote(versions, SCORER, number).promoted


def test_a_small_group_is_not_judged_by_noise(versions: FakeVersions) -> None:
    number = versions.add((0.02, 0.01, 0.03))
    loss = {"": -0.03, "_low": -0.09, "_high": 0.02}
    versions.runs[f"run{number}"] |= {f"group/few/{GAIN}{end}": x for end, x in loss.items()}
    assert promote(versions, SCORER, number).promoted


def test_one_listener_s_interval_without_width_is_no_guard(versions: FakeVersions) -> None:
    number = versions.add((0.02, 0.01, 0.03))
    loss = {f"group/few/{GAIN}{end}": -0.03 for end in ("", "_low", "_high")}
    run = versions.runs[f"run{number}"]
    run |= loss | {"group/few/listeners": 6.0}
    assert promote(versions, SCORER, number).gate == "group"
    run["group/few/listeners"] = 1.0
    decision = promote(versions, SCORER, number)
    assert decision.promoted
    (finding,) = [f for f in decision.findings if f.gate == "group"]
    assert finding.message.endswith("not held against it: 1 listeners are too few")


def test_what_is_no_number_passes_no_guard(versions: FakeVersions) -> None:
    number = versions.add((0.02, 0.01, 0.03))
    versions.runs[f"run{number}"]["latency_ms"] = float("nan")
    assert promote(versions, SCORER, number).gate == "latency"


def test_a_defective_run_is_declined_without_a_champion_too(versions: FakeVersions) -> None:
    number = versions.add((0.02, 0.01, 0.03))
    versions.served = 0
    versions.runs[f"run{number}"]["barred_rows_used"] = 1.0
    assert promote(versions, SCORER, number).gate == "trainable"


def test_a_scorer_without_evidence_is_refused(versions: FakeVersions) -> None:
    number = versions.add((0.02, 0.01, 0.03))
    del versions.runs[f"run{number}"]["leaking_values"]
    with pytest.raises(TrainingError, match="no metric 'leaking_values': train again"):
        promote(versions, SCORER, number)


def test_margins_are_read_by_name() -> None:
    assert Margins.of(["gain=0.01"]) == Margins(gain=0.01)
    for wrong in ("gains=1", "gain", "gain=-1", "gain=nan", "gain=inf"):
        with pytest.raises(TrainingError, match="NAME=NUMBER"):
            Margins.of([wrong])


def test_rollback_goes_back_one_champion_at_a_time(versions: FakeVersions) -> None:
    for number in (2, 3):
        versions.add((0.02, 0.01, 0.03), baseline=versions.served, fitted_from="feedback")
        assert promote(versions, SCORER, number, who="ada").promoted
    first = rollback(versions, SCORER, reason="complaints", who="ada")
    assert first.message == "scorer 2 is the champion again, after scorer 3"
    assert rollback(versions, SCORER).promoted
    assert versions.served == 1
    with pytest.raises(TrainingError, match="none to go back to"):
        rollback(versions, SCORER)


def test_after_a_rollback_a_promotion_goes_on_from_there(versions: FakeVersions) -> None:
    for number in (2, 3):
        versions.add((0.02, 0.01, 0.03), baseline=versions.served, fitted_from="feedback")
        promote(versions, SCORER, number)
    rollback(versions, SCORER)
    versions.add((0.02, 0.01, 0.03), baseline=2, fitted_from="feedback")
    assert promote(versions, SCORER, 4).promoted
    rollback(versions, SCORER)
    assert versions.served == 2


def test_the_history_says_who_when_and_why(versions: FakeVersions) -> None:
    number = versions.add((0.0, -0.01, 0.01))
    day = datetime(2026, 11, 1, tzinfo=UTC)
    promote(versions, SCORER, number, who="ada", now=day)
    promote(versions, SCORER, number, force=True, reason="a try", who="bob", now=day + timedelta(1))
    rollback(versions, SCORER, who="cleo", now=day + timedelta(2))
    found = [(e.kind, e.number, e.promoted, e.who, e.at[:10]) for e in history(versions, SCORER)]
    assert found == [
        ("promotion", 2, False, "ada", "2026-11-01"),
        ("promotion", 2, True, "bob", "2026-11-02"),
        ("rollback", 1, True, "cleo", "2026-11-03"),
    ]
    assert [f.gate for f in history(versions, SCORER)[0].findings if not f.passed] == ["gain"]
