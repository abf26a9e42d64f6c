import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from recommender.cold_start import Stage
from training.errors import RegistryError
from training.evaluation.list_metrics import METRICS
from training.review.comparison import comparison_of, smallest_detectable
from training.review.comparison_page import page_of
from training.runs import DATA_TAG, MODEL_TAG, SCORER, StoredRun, Version

EVIL = "<script>alert(1)</script>"
N = 40


def evaluation(shift: float) -> dict[str, Any]:
    """Forty listeners; those of odd number lose what those of even number gain twice."""
    listeners = []
    for i in range(N):
        value = 0.3 + (shift if i % 2 == 0 else -shift / 2)
        values = {"candidate": [value] * len(METRICS), "baseline": [0.3] * len(METRICS)}
        listeners.append(
            {
                "id": f"L{i:03}",
                "stage": "week_1",
                "groups": ["even" if i % 2 == 0 else "odd"],
                "served": {stage.value: values for stage in Stage},
                "full": {stage.value: values for stage in Stage},
            }
        )
    found = [{"artist": EVIL, "found": True}, {"artist": f"artist at {shift}", "found": False}]
    example = {"id": "L000", "why": "drawn", "stage": "week_1", "gain": shift, "wanted": 3}
    lists = {"heard": ["abba"], "before": found, "after": found}
    return {"listeners": listeners, "examples": [example | lists]}


class FakeRuns:
    """A registry in a dictionary: two scorers, version 1 is the champion."""

    def __init__(self) -> None:
        self.served = 1
        self.evaluations = {"first-run": evaluation(0.0), "second-run": evaluation(0.1)}
        self.stored = {
            name: StoredRun(
                run_id=name,
                name="scorer seed 7",
                status="FINISHED",
                params={"seed": "7", "shrinkage": shrinkage},
                metrics={"week_1/weight_history": 0.4, "ndcg_10": 0.3, "listeners_test": N}
                | {"ndcg_10_low": 0.2, "ndcg_10_high": 0.4},
                tags={DATA_TAG: "d" * 64, "code_version": EVIL + name, MODEL_TAG: SCORER},
                data=None,
                started_at=datetime(2026, 11, 1, tzinfo=UTC),
                seconds=1.0,
            )
            for name, shrinkage in (("first-run", "50"), ("second-run", "20"))
        }

    def run(self, run_id: str) -> StoredRun:
        if run_id not in self.stored:
            raise RegistryError(f"there is no run {run_id}")
        return self.stored[run_id]

    def runs(self, tags: Mapping[str, str] | None = None) -> list[StoredRun]:
        assert tags == {DATA_TAG: "d" * 64}
        return list(self.stored.values())

    def artifact(self, run_id: str, path: str) -> bytes:
        if run_id not in self.evaluations:
            raise RegistryError(f"run {run_id} keeps no file {path}")
        return json.dumps(self.evaluations[run_id]).encode()

    def versions(self, name: str) -> list[Version]:
        return [Version(SCORER, i, run, "", {}) for i, run in enumerate(self.stored, start=1)]

    def version(self, name: str, number: int) -> Version:
        return self.versions(name)[number - 1]

    def champion(self, name: str) -> Version | None:
        return self.version(name, self.served)

    def turn(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def set_alias(self, name: str, alias: str, number: int) -> None:
        raise AssertionError("a comparison changes nothing")

    def set_tag(self, version: Version, key: str, value: str) -> None:
        raise AssertionError("a comparison changes nothing")


def test_differences_are_paired_by_listener() -> None:
    found = comparison_of(FakeRuns(), "first-run", "second-run")
    assert (found.paired, found.tested) == (N, 2)
    gain = found.metrics[0].difference
    assert gain is not None
    assert gain.mean == pytest.approx(0.1 / 2 - 0.05 / 2)
    groups = {line.name: line.difference.mean for line in found.groups if line.difference}
    assert groups == pytest.approx({"even": 0.1, "odd": -0.05})
    assert [(change.kind, change.name) for change in found.changes] == [
        ("code", "code_version"),
        ("parameter", "shrinkage"),
    ]


def test_the_smallest_gain_that_can_be_seen_is_28_standard_errors_of_ten() -> None:
    differences = np.array([0.1, -0.05] * 20)
    error = differences.std(ddof=1) / 40**0.5
    assert smallest_detectable(differences) == pytest.approx((1.95996 + 0.84162) * error, rel=1e-4)
    assert smallest_detectable(differences[:1]) is None


def test_the_page_is_self_contained_and_escapes_what_runs_say() -> None:
    page = page_of(comparison_of(FakeRuns(), "first-run", "second-run"))
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert "finds more of what listeners go on to play" in page
    assert "1 of 2" in page  # the odd ones lose
    assert page.count("<svg") == 2
    # Addresses are names of XML vocabularies, and nothing is loaded.
    assert not re.search(r"<(link|script|img|iframe)\b|@import|src=|url\((?!#)", page)
    assert not re.search(r'\bhref="(?!#)', page)


def test_runs_without_an_evaluation_are_compared_by_what_they_have() -> None:
    runs = FakeRuns()
    runs.evaluations.clear()
    found = comparison_of(runs, "first-run", "second-run")
    assert (found.paired, found.detectable, list(found.groups)) == (0, None, [])
    assert found.metrics[0].difference is not None
    assert "The runs keep no lists." in page_of(found)


def test_an_unknown_run_is_refused() -> None:
    with pytest.raises(RegistryError, match="no run third"):
        comparison_of(FakeRuns(), "first-run", "third")
