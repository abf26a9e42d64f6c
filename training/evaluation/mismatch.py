"""Train/serve mismatch: what the service judged, judged again as training would judge it.

The service keeps the components of 1% of its lists (`features.samples`). Each value is worked out
again from Postgres as of the list's moment, by the functions that training rows are made with:
`load_profile_as_of`, `listener_of`, `recommender.components.evaluate`. What the service takes from
aggregates, caches and a catalogue in memory comes from the rows themselves here, so that a stale
cache, an aggregate that lost a play or a component of the service's own shows.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np
import sqlalchemy as sa

from features.catalogue import load_catalogue
from features.listeners import listener_of, load_profile_as_of
from features.samples import StoredSample, read_samples, refreshed_at
from recommender.audio import FloatArray
from recommender.colisten import Colisten
from recommender.components import DIVERSITY, KEYS, evaluate
from recommender.diversity import diversity_in_order
from recommender.listener import Listener
from recommender.taste import ColistenIn
from recommender.tracks import Catalogue
from training.errors import TrainingError
from training.model_kind import ModelKind
from training.runs import COLISTEN

TOLERANCE = 1e-4
"""Values that differ by more are not the same. Audio is float32: sums in another order differ by
some 1e-6, and the logarithm of co-listening makes up to 1e-5 of it."""
MARGIN = 0.001
"""A larger share of values fails the gate, unless a promotion names another margin."""
DAYS = 7
MOST = 2_000
"""Lists looked at, the latest first."""

OF_HEARD = ("history", COLISTEN)
"""Components that read the audio of what was heard."""


@dataclass(frozen=True)
class Mismatch:
    """What a comparison came to. One value is one component of one track.

    Attributes
    ----------
    lists
        Of which at least one value was compared.
    values, mismatched
        Compared, and among them those that differ by more than `TOLERANCE`.
    by_component
        Component -> mismatched values, where there are any.
    skipped
        Reason -> values that cannot be worked out as of their moment any more.

    Examples
    --------
    >>> found = Mismatch(lists=2, values=600, mismatched=3, by_component={"history": 3})
    >>> found.share
    0.005
    >>> print(found)
    3 of 600 values in 2 lists differ by more than 0.0001 (0.500%, allowed 0.1%): 3 history
    """

    lists: int = 0
    values: int = 0
    mismatched: int = 0
    by_component: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Of the compared values that differ; 0 where none was compared."""
        return self.mismatched / self.values if self.values else 0.0

    def metrics(self) -> dict[str, float]:
        """Return the metrics of a run that the promotion gate reads; none without a list."""
        if not self.lists:
            return {}
        return {"train_serve_mismatch": self.share, "mismatch_lists": float(self.lists)}

    def __str__(self) -> str:
        """Return one line."""
        line = (
            f"{self.mismatched} of {self.values} values in {self.lists} lists differ by more than"
            f" {TOLERANCE} ({self.share:.3%}, allowed {MARGIN:.1%})"
        )
        if self.by_component:
            line += ": " + ", ".join(f"{n} {key}" for key, n in sorted(self.by_component.items()))
        if self.skipped:
            parts = (f"{n} {reason}" for reason, n in sorted(self.skipped.items()))
            line += f"; left out {', '.join(parts)}"
        return line


class Versions(Protocol):
    """Where the models that lists were made with are: `training.registry.Registry`."""

    def load(self, kind: ModelKind[Colisten], number: int) -> Colisten:
        """Return a version; raises RegistryError where it cannot be had."""
        ...


def mismatch(
    engine: sa.Engine,
    registry: Versions,
    *,
    now: datetime,
    since: datetime | None = None,
    most: int = MOST,
) -> Mismatch:
    """Work the sampled lists out again, and count the values that differ.

    Left out and counted by reason, since their moment cannot be gone back to: rows of before the
    moment that came in after it, audio or entries of tracks that were written again, and lists of a
    co-listening version that is gone.

    Parameters
    ----------
    since
        Lists from then on; None: of the last 7 days.
    most
        So many lists at most, the latest first.
    """
    begin = now - timedelta(days=DAYS) if since is None else since
    with engine.connect() as connection:
        samples = read_samples(connection, since=begin, until=now, most=most)
        if not samples:
            return Mismatch()
        named = {track_id for sample in samples for track_id in sample.track_ids}
        written, latest = refreshed_at(connection, sorted(named))
    judge = _Judge(engine, registry, load_catalogue(engine).catalogue, written, latest)
    for sample in samples:
        judge.compare(sample)
    return judge.result()


class _Judge:
    """Works lists out again, and counts."""

    def __init__(
        self,
        engine: sa.Engine,
        registry: Versions,
        catalogue: Catalogue,
        written: Mapping[str, datetime],
        latest: datetime | None,
    ) -> None:
        self._engine, self._registry = engine, registry
        self._catalogue = catalogue
        self._written, self._latest = written, latest
        self._models: dict[int, ColistenIn | None] = {}
        self._lists = self._values = 0
        self._mismatched: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()

    def result(self) -> Mismatch:
        """Return what was counted."""
        return Mismatch(
            lists=self._lists,
            values=self._values,
            mismatched=self._mismatched.total(),
            by_component=dict(self._mismatched),
            skipped=dict(self._skipped),
        )

    def compare(self, sample: StoredSample) -> None:
        """Work one list out again."""
        everything = len(sample.track_ids) * len(sample.components)
        if sample.came_late:
            self._skipped["of listeners whose rows came in late"] += everything
            return
        version = sample.model_versions.get(COLISTEN)
        colisten = None if version is None else self._model(version)
        if version is not None and colisten is None:
            self._skipped[f"of colisten {version}, which cannot be loaded"] += everything
            return
        with self._engine.connect() as connection:
            profile = load_profile_as_of(connection, sample.user_id, sample.moment)
        if profile is None:
            self._skipped["of listeners who were not known then"] += everything
            return
        listener = listener_of(
            profile, self._catalogue, now=sample.moment, q_table={}, colisten=colisten
        )
        is_same = np.array(
            [self._written.get(i, sample.moment) <= sample.built_at for i in sample.track_ids]
        )
        rows = self._catalogue.rows_of(sample.track_ids)
        is_same &= rows >= 0
        ours = self._components(listener, np.maximum(rows, 0))
        before = self._values
        for key, values in sample.components.items():
            reason = self._barred(key, sample, is_same, has_model=colisten is not None)
            if reason is not None:
                self._skipped[reason] += len(values)
                continue
            theirs = np.array(values, dtype=np.float64)[is_same]
            self._values += len(theirs)
            self._skipped["of tracks that were written again"] += int((~is_same).sum())
            differ = int((np.abs(theirs - ours[key][is_same]) > TOLERANCE).sum())
            if differ:
                self._mismatched[key] += differ
        self._skipped = +self._skipped  # without zeros
        self._lists += self._values > before

    def _components(self, listener: Listener, rows: np.ndarray) -> dict[str, FloatArray]:
        tracks = self._catalogue.tracks.take(rows)
        return evaluate(listener, tracks) | {
            DIVERSITY: diversity_in_order(tracks.audio, tracks.artist)
        }

    def _barred(
        self, key: str, sample: StoredSample, is_same: np.ndarray, *, has_model: bool
    ) -> str | None:
        """Return why a component of a list cannot be compared at all, None where it can."""
        if key not in KEYS:
            return f"of {key}, which is no component any more"
        if sample.heard_refreshed and key in OF_HEARD:
            return "of listeners whose tracks' audio was written again"
        if key == DIVERSITY and not is_same.all():
            return "of lists with tracks that were written again"
        # Genres of the whole catalogue enter co-listening.
        if key == COLISTEN and has_model and self._latest and self._latest > sample.built_at:
            return "of co-listening on a catalogue that has changed"
        return None

    def _model(self, version: int) -> ColistenIn | None:
        if version not in self._models:
            from training.colisten_flavour import KIND  # noqa: PLC0415 - imports pandas

            try:
                model = self._registry.load(KIND, version)
            except TrainingError:
                self._models[version] = None
            else:
                self._models[version] = ColistenIn.of(model, self._catalogue)
        return self._models[version]
