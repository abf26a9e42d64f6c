"""What went into two runs and is not the same: data, code, parameters, and what their tags say."""

from collections.abc import Mapping
from dataclasses import dataclass

from training.runs import DATA_TAG, StoredRun

QUIET_TAGS = ("mlflow.", "decision.")
RESULTS = frozenset({"seconds", "reproduced", "model_sha256"})
"""Tags that say what came out of a run, and not what went in."""


@dataclass(frozen=True)
class Change:
    """Something that is not the same in both runs."""

    kind: str
    name: str
    before: str
    after: str


def changes_of(before: StoredRun, after: StoredRun) -> list[Change]:
    """Return what differs in data, code, parameters and the rest, in this order."""
    kinds = {DATA_TAG: "data", "code_version": "code", "refused": "data", "barred_rows": "data"}
    rows = []
    for source, one, other in (
        ("tag", _said(before.tags), _said(after.tags)),
        ("parameter", before.params, after.params),
    ):
        for name in sorted(one.keys() | other.keys()):
            kind = "data" if name.startswith("data_") else kinds.get(name, source)
            rows.append(Change(kind, name, one.get(name, ""), other.get(name, "")))
    for name in ("rows", "rows_refused", "listeners_fit", "listeners_test"):
        if name in before.metrics or name in after.metrics:
            values = [
                f"{run.metrics[name]:,.0f}" if name in run.metrics else ""
                for run in (before, after)
            ]
            rows.append(Change("data", name, *values))
    order = ("data", "code", "parameter", "tag")
    differing = [row for row in rows if row.before != row.after]
    return sorted(differing, key=lambda row: (order.index(row.kind), row.name))


def _said(tags: Mapping[str, str]) -> dict[str, str]:
    return {
        name: text
        for name, text in tags.items()
        if not name.startswith(QUIET_TAGS)
        and name not in RESULTS
        and (name == DATA_TAG or not name.endswith("_sha256"))
    }
