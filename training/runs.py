"""Runs and versions in plain types, for everything that need not know the tracking library."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

SCORER = "scorer"
COLISTEN = "colisten"
AUDIO_ESTIMATOR = "audio_estimator"
CHAMPION = "champion"

FITTED_FROM_TAG = "fitted_from"
"""Tag: the evidence that a version rests on, one of the following."""
HISTORIES = "histories"
"""What listeners played by themselves: no list was shown, nobody chose from one."""
IMPRESSIONS = "impressions"
"""What listeners chose from lists that they were shown; histories are the prior."""
BY_HAND = "hand"

LISTENING = "listening"
"""The same histories, for a model that describes what is played and claims no choice."""

COLISTEN_TAG = "colisten_version"
"""Tag of a scorer: the co-listening model that was champion when its weights were fitted."""
COMPARED_WITH = "compared_with"
"""Tag: what its gain is over, where that is not the champion."""

BASELINE = "baseline_version"
"""Tag: the champion that a version was compared with."""


@dataclass(frozen=True)
class Run:
    """What is kept of one training run.

    Attributes
    ----------
    name
        What it is called in lists.
    params, metrics, tags
        As the tracking server shows them.
    figures
        File name -> PNG.
    data
        (name, hash, window) of the rows that it was trained on; None: it was trained on none.
    started_at, seconds
        None: as it is logged.
    parent
        The id of the run that it is a part of, as a trial is of a search.
    files
        Further files: path -> content.
    """

    name: str
    params: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, bytes] = field(default_factory=dict)
    data: tuple[str, str, str] | None = None
    started_at: datetime | None = None
    seconds: float = 0.0
    parent: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


REPRODUCED_TAG = "reproduced"
"""Tag of a run: yes or no, whether training again from equal data gave the same model."""

DATA_TAG = "data_sha256"
"""Tag: the hash of the rows that a model was fitted to."""
CODE_TAG = "code_version"
MODEL_TAG, MODEL_SHA256_TAG = "model", "model_sha256"
"""Tags of a run that left a version: of which model, and the hash of its files."""
SEED, SECONDS = "seed", "seconds"


@dataclass(frozen=True)
class StoredRun:
    """What is read back of a run.

    Attributes
    ----------
    status
        RUNNING, FINISHED or FAILED.
    data
        (name, hash, window) of the rows that it was trained on; None: it was trained on none.
    seconds
        How long it took; 0 where it has not ended.
    """

    run_id: str
    name: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    data: tuple[str, str, str] | None
    started_at: datetime | None
    seconds: float


@dataclass(frozen=True)
class Version:
    """One version of a registered model.

    Attributes
    ----------
    location
        Address of its folder.
    tags
        Tags of the version, not of its run.
    """

    name: str
    number: int
    run_id: str
    location: str
    tags: Mapping[str, str]

    def __str__(self) -> str:
        """Return the name and the number.

        Examples
        --------
        >>> print(Version("scorer", 3, "", "", {}))
        scorer 3
        """
        return f"{self.name} {self.number}"
