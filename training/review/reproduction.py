"""Reproduction: a run's model fitted again, and compared byte for byte; no version comes of it.

The data come first: a model of other rows cannot be equal, and which rows changed is worth more
than that the bytes did.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from training.code_version import DIRTY, code_version
from training.data.data_parts import DATA_FILE, Part, differences, from_file
from training.errors import NothingTrainableError, RegistryError, TrainingError
from training.packaging import model_sha256
from training.review.rebuilding import REBUILDS, Rebuild
from training.runs import CODE_TAG, MODEL_SHA256_TAG, MODEL_TAG, REPRODUCED_TAG, StoredRun

REQUIREMENTS = "model/requirements.txt"


class Runs(Protocol):
    """What reproduction needs of `training.registry.Registry`."""

    def run(self, run_id: str) -> StoredRun:
        """Return what is kept of a run."""
        ...

    def artifact(self, run_id: str, path: str) -> bytes:
        """Read one of a run's files."""
        ...

    def set_run_tag(self, run_id: str, key: str, value: str) -> None:
        """Write a tag of a run."""
        ...

    def environment(self) -> list[str]:
        """Return the libraries in use, as `name==version`."""
        ...


@dataclass(frozen=True)
class Reproduction:
    """Whether a run's model came out again, and one line that says so or what differs."""

    equal: bool
    message: str


def reproduce(
    engine: sa.Engine,
    registry: Runs,
    run_id: str,
    *,
    rebuilds: Mapping[str, Rebuild] = REBUILDS,
    code: str | None = None,
) -> Reproduction:
    """Rebuild a run's data, fit its model again with its parameters and seed, and compare.

    The run's tag `reproduced` becomes yes where the bytes are equal, and no where they differ
    though neither data nor code nor libraries do: a gate of promotion reads it.

    Parameters
    ----------
    rebuilds
        Model's name -> how it is fitted again.
    code
        The version of the code that runs; None: what is checked out.

    Raises
    ------
    RegistryError
        There is no such run, or it is none that left a model.
    TrainingError
        The run does not say enough to be repeated.
    """
    run = registry.run(run_id)
    kind, expected = run.tags.get(MODEL_TAG, ""), run.tags.get(MODEL_SHA256_TAG, "")
    if kind not in rebuilds or run.status != "FINISHED":
        raise RegistryError(
            f"run {run_id} ({run.name}, {run.status.lower()}) cannot be reproduced: it is no"
            f" finished run that trained {' or '.join(rebuilds)}"
        )
    code = code or code_version(Path(__file__).parent)
    changes = _surroundings(registry, run, code)
    unsure = ["the code had changes that no commit holds"] if DIRTY in code else []
    notes = "".join(f"; {note}" for note in (*changes, *unsure))
    try:
        then = from_file(registry.artifact(run_id, DATA_FILE))
        rebuilt = rebuilds[kind](engine, run)
    except NothingTrainableError as error:
        return Reproduction(False, f"not equal: {error}{notes}")
    except (KeyError, ValueError, RegistryError) as error:
        raise TrainingError(
            f"run {run_id} does not say what it was fitted to ({error}): it was written by hand or"
            " by an older release, train again"
        ) from None
    changed = differences(then, rebuilt.parts)
    if changed:
        return Reproduction(False, f"not equal: {_data_changed(run, changed)}{notes}")
    # One thread: sums in another order would differ in their last bits.
    with threadpool_limits(limits=1):
        found = model_sha256(rebuilt.fit())
    if found == expected:
        registry.set_run_tag(run_id, REPRODUCED_TAG, "yes")
        same = f"equal: {kind} of run {run_id}, sha256 {found}"
        return Reproduction(True, f"{same}, fitted again to the same {_rows(then)} rows{notes}")
    if not changes:  # other code may well give another model
        registry.set_run_tag(run_id, REPRODUCED_TAG, "no")
    return Reproduction(
        False,
        f"not equal: {kind} of run {run_id} was {expected[:12]} and comes out as {found[:12]} from"
        f" the same data, parameters and seed{notes or '; so the fit itself depends on chance'}",
    )


def _rows(parts: Mapping[str, Part]) -> int:
    return sum(part.rows for part in parts.values())


def _data_changed(run: StoredRun, changed: list[str]) -> str:
    window = f" within {run.data[2]}" if run.data else ""
    return f"the data of run {run.run_id} changed{window}, so nothing was fitted: " + ", ".join(
        changed
    )


def _surroundings(registry: Runs, run: StoredRun, code: str) -> list[str]:
    """Return what else is not as it was then: the code, the libraries."""
    changes = []
    then = run.tags.get(CODE_TAG, "unknown")
    if then != code:
        changes.append(f"the code was {then} and is {code}")
    lines = registry.artifact(run.run_id, REQUIREMENTS).decode().split()
    before = dict(line.split("==") for line in lines if line.count("==") == 1)
    for line in registry.environment():
        name, version = line.split("==")
        if name in before and before[name] != version:
            changes.append(f"{name} was {before[name]} and is {version}")
    return changes
