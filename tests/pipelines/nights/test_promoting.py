"""What a night may promote: nothing on broken data, nothing over a champion that knows more."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from pipelines import promoting
from pipelines.nights.night import Night
from training.review.promotion import Decision
from training.runs import BY_HAND, FITTED_FROM_TAG, StoredRun, Version

AS_OF = datetime(2026, 5, 20, 3, tzinfo=UTC)


def version(number: int, **tags: str) -> Version:
    return Version("colisten", number, f"run{number}", "", tags)


@dataclass
class Registry:
    """Version 2 is the night's; version 1 is the champion, fitted some days after the night."""

    champion_tags: dict[str, str]
    days_later: int
    decisions: dict[str, str] = field(default_factory=dict)
    aliases: list[int] = field(default_factory=list)
    decisions_on_champion: dict[str, str] = field(default_factory=dict)

    def version(self, name: str, number: int) -> Version:
        return version(number, **self.decisions)

    def versions(self, name: str) -> list[Version]:
        return [version(1, **self.decisions_on_champion), version(2, **self.decisions)]

    def champion(self, name: str) -> Version:
        return version(1, **self.champion_tags)

    def run(self, run_id: str) -> StoredRun:
        at = AS_OF + timedelta(days=self.days_later)
        return StoredRun(run_id, "", "FINISHED", {}, {}, {}, None, at, 0.0)

    def turn(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def set_alias(self, name: str, alias: str, number: int) -> None:
        self.aliases.append(number)


@dataclass
class OneNight:
    registry: Registry
    broken: list[str]
    as_of: datetime = AS_OF

    def check_lock(self) -> None:
        pass

    def outcome(self, step: str) -> dict[str, Any]:
        if step == "watch":
            return {"broken": self.broken}
        return {"version": 2, "run_id": "run2"}


def decided(registry: Registry, *, broken: tuple[str, ...] = ()) -> dict[str, Any]:
    night = cast(Night, OneNight(registry, list(broken)))
    return promoting.promote_one(night, "colisten")


@pytest.fixture(autouse=True)
def gates_open(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Decision(True, None, "promoted")
    monkeypatch.setattr(promoting, "_decide", lambda night, version: opened)


def test_the_gates_decide() -> None:
    assert decided(Registry({}, -1))["promoted"]


def test_nothing_is_promoted_on_broken_data() -> None:
    found = decided(Registry({}, -1), broken=("plays: nothing came in",))
    assert (found["promoted"], found["gate"]) == (False, "data")
    assert "nothing came in" in found["message"]


def test_a_past_night_does_not_take_the_place_of_a_later_champion() -> None:
    assert decided(Registry({}, 3))["gate"] == "older"
    assert decided(Registry({FITTED_FROM_TAG: BY_HAND}, 3))["promoted"]


def test_a_decision_that_was_recorded_is_carried_out() -> None:
    promoted = '{"promoted": true, "gate": null, "message": "it is better"}'
    registry = Registry({}, -1, {"decision.1": promoted})
    assert decided(registry)["message"] == "it is better"
    assert registry.aliases == [2]
    declined = '{"promoted": false, "gate": "gain", "message": "it is not"}'
    registry = Registry({}, -1, {"decision.1": promoted, "decision.2": declined})
    assert decided(registry)["gate"] == "gain"
    assert registry.aliases == []


def test_a_rollback_after_the_kill_stays() -> None:
    promoted = '{"promoted": true, "gate": null, "message": "it is better", "at": "2026-05-20"}'
    back = (
        '{"promoted": true, "gate": null, "message": "back", "at": "2026-05-21",'
        ' "kind": "rollback", "previous_champion": 2}'
    )
    registry = Registry({}, -1, {"decision.1": promoted}, [], {"decision.1": back})
    assert decided(registry)["message"] == "it is better"
    assert registry.aliases == []
