"""What answers are made with: one catalogue and one set of model versions, swapped as a whole."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from features.catalogue import NamedCatalogue
from recommender import candidates
from recommender.audio_index import AudioIndex
from recommender.colisten import Colisten
from recommender.components import KEYS
from recommender.genres import normalise_genre
from recommender.qtable import QTable
from recommender.scoring import Scorer
from recommender.taste import ColistenIn
from serving.model_registry import ServedModel
from serving.schemas import RecommendRequest
from serving.track_index import index_of


@dataclass(frozen=True)
class Served:
    """The versions that one answer is made with."""

    catalogue: NamedCatalogue
    catalogue_version: str
    scorer: ServedModel[Scorer]
    colisten: ServedModel[Colisten] | None = None
    taste: ColistenIn | None = None
    """The co-listening model joined to the catalogue."""
    index: AudioIndex | None = None
    """Of the catalogue, where it is large."""
    qtable: ServedModel[QTable] | None = None

    @classmethod
    def of(
        cls,
        named: NamedCatalogue,
        scorer: ServedModel[Scorer],
        colisten: ServedModel[Colisten] | None = None,
        qtable: ServedModel[QTable] | None = None,
        *,
        indices: Path | None = None,
        before: "Served | None" = None,
    ) -> "Served":
        """Return the versions with the catalogue's name worked out.

        Pools in the cache hold rows by number and components by key, so the ids behind the numbers
        and the keys are part of the name.

        Parameters
        ----------
        indices
            The folder of the catalogue's index; None: none is wanted.
        before
            What was served until now: what it worked out of the same catalogue is taken over, so
            that a new scorer does not keep callers waiting for what has not changed.
        """
        same = before if before is not None and before.catalogue is named else None
        if same and (same.colisten and same.colisten.model) is (colisten and colisten.model):
            taste = same.taste
        else:
            taste = _joined(named, colisten)
        if same:
            return replace(same, scorer=scorer, colisten=colisten, qtable=qtable, taste=taste)
        digest = hashlib.sha256(named.catalogue.ids.tobytes())
        digest.update(",".join(KEYS).encode())
        version = f"{named.build_id}-{digest.hexdigest()[:8]}"
        index = index_of(named.catalogue, version, indices) if indices else None
        return cls(named, version, scorer, colisten, taste, index, qtable)

    @property
    def models(self) -> dict[str, int]:
        """Model name -> version."""
        served = {"scorer": self.scorer, "colisten": self.colisten, "qtable": self.qtable}
        return {name: model.version for name, model in served.items() if model is not None}

    def proposes_as(self, other: "Served") -> bool:
        """Return whether both propose the same candidates and judge them alike."""
        return self.catalogue_version == other.catalogue_version and (
            self.models.get("colisten") == other.models.get("colisten")
        )

    def cache_key(self, request: RecommendRequest) -> str:
        """Return what a list depends on beside its listener."""
        genre = normalise_genre(request.genre) if request.genre else "-"
        return f"{genre}|{request.context or '-'}|{self._versions}"

    @cached_property
    def _versions(self) -> str:
        models = [f"{name}:{version}" for name, version in self.models.items()]
        return "|".join([*models, self.catalogue_version])


def _joined(named: NamedCatalogue, colisten: ServedModel[Colisten] | None) -> ColistenIn | None:
    """Return co-listening joined to a catalogue, both warm: no first caller waits for them."""
    named.catalogue.warm()
    taste = None if colisten is None else ColistenIn.of(colisten.model, named.catalogue)
    if taste is not None:
        taste.warm()
    candidates.warm(named.catalogue, taste)
    return taste
