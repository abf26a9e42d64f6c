"""What answers are made with: one catalogue and one set of model versions, swapped as a whole."""

import hashlib
from dataclasses import dataclass

from features.catalogue import NamedCatalogue
from recommender.components import KEYS
from recommender.genres import normalise_genre
from recommender.scoring import Scorer
from serving.model_registry import ServedModel
from serving.schemas import RecommendRequest


@dataclass(frozen=True)
class Served:
    """The versions that one answer is made with."""

    catalogue: NamedCatalogue
    catalogue_version: str
    scorer: ServedModel[Scorer]

    @classmethod
    def of(cls, named: NamedCatalogue, scorer: ServedModel[Scorer]) -> "Served":
        """Return the versions with the catalogue's name worked out.

        Pools in the cache hold rows by number and components by key, so the ids behind the numbers
        and the keys are part of the name.
        """
        named.catalogue.warm()
        digest = hashlib.sha256(named.catalogue.ids.tobytes())
        digest.update(",".join(KEYS).encode())
        return cls(named, f"{named.build_id}-{digest.hexdigest()[:8]}", scorer)

    @property
    def models(self) -> dict[str, int]:
        """Model name -> version."""
        return {"scorer": self.scorer.version}

    def cache_key(self, request: RecommendRequest) -> str:
        """Return what a list depends on beside its listener."""
        genre = normalise_genre(request.genre) if request.genre else "-"
        parts = [genre, request.context or "-", f"scorer:{self.scorer.version}"]
        return "|".join([*parts, self.catalogue_version])
