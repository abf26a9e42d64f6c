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
        if before is not None and before.catalogue is named:
            taste = before.taste
            if (before.colisten and before.colisten.model) is not (colisten and colisten.model):
                taste = ColistenIn.of(colisten.model, named.catalogue) if colisten else None
            return replace(before, scorer=scorer, colisten=colisten, qtable=qtable, taste=taste)
        named.catalogue.warm()
        digest = hashlib.sha256(named.catalogue.ids.tobytes())
        digest.update(",".join(KEYS).encode())
        taste = None if colisten is None else ColistenIn.of(colisten.model, named.catalogue)
        if taste is not None:
            taste.warm()
        candidates.warm(named.catalogue, taste)
        version = f"{named.build_id}-{digest.hexdigest()[:8]}"
        index = index_of(named.catalogue, version, indices) if indices else None
        return cls(named, version, scorer, colisten, taste, index, qtable)

    @property
    def models(self) -> dict[str, int]:
        """Model name -> version."""
        served = {"scorer": self.scorer, "colisten": self.colisten, "qtable": self.qtable}
        return {name: model.version for name, model in served.items() if model is not None}

    def cache_key(self, request: RecommendRequest) -> str:
        """Return what a list depends on beside its listener."""
        genre = normalise_genre(request.genre) if request.genre else "-"
        return f"{genre}|{request.context or '-'}|{self._versions}"

    @cached_property
    def _versions(self) -> str:
        models = [f"{name}:{version}" for name, version in self.models.items()]
        return "|".join([*models, self.catalogue_version])
