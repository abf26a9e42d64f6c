"""The verdict on a night: which code it ends with, and what its first lines say."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from pipelines.nights import alarms
from pipelines.nights.night import Night

Outcomes = dict[str, dict[str, Any]]


@dataclass
class OneNight:
    outcomes: Outcomes = field(default_factory=dict)

    def outcome(self, step: str) -> dict[str, Any]:
        return self.outcomes.get(step, {})


def verdict(failure: str | None = None, **outcomes: dict[str, Any]) -> alarms.Verdict:
    return alarms.verdict(cast(Night, OneNight(outcomes)), failure)


def declined(gate: str | None) -> dict[str, Any]:
    return {"scorer": {"promoted": False, "gate": gate, "message": f"scorer 2: {gate}"}}


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ("group", 10), ("baseline", 10), ("gain", 0), ("effective_n", 0), ("evidence", 0),
        ("older", 0), ("data", 0), (None, 0),
    ],
)  # fmt: skip
def test_a_gate_that_asks_for_a_look_is_10(gate: str | None, code: int) -> None:
    found = verdict(promote=declined(gate))
    assert found.exit_code == code
    assert found.alarms == ([f"scorer 2: {gate}"] if code else [])
    assert found.declined == ([f"scorer 2: {gate}"] if gate else [])


def test_the_gravest_counts_and_comes_first() -> None:
    day = {
        "broken": ["plays: all say 0 ms"],
        "drifted": ["drift: energy"],
        "below": ["few artists"],
    }
    found = verdict(promote=declined("group"), watch=day)
    assert found.exit_code == 20
    lines = ["plays: all say 0 ms", "drift: energy", "few artists", "scorer 2: group"]
    assert found.alarms == lines
    found = verdict("train_scorer: no room", promote=declined("group"), watch=day)
    assert found.exit_code == 30
    assert found.alarms == ["failed: train_scorer: no room", *lines]


def test_what_was_promoted_early_counts_where_the_night_came_no_further() -> None:
    early = {"promoted": True, "gate": None, "message": "colisten 3 is better"}
    found = verdict("train_scorer: no room", promote_colisten=early)
    assert found.promoted == ["colisten 3 is better"]
    late = {"qtable": {"promoted": True, "gate": None, "message": "qtable 2 is better"}}
    found = verdict(promote_colisten=early, promote={**late, "colisten": early})
    assert found.promoted == ["colisten 3 is better", "qtable 2 is better"]
