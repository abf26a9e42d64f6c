"""Versions under watch: loaded, checked, swapped as a whole, refused loudly.

A champion is taken over only after its hashes, its schema and the golden request; one that fails is
refused and the version before it goes on. While the registry is away the last good local copy is
served, and answers say `model_stale`.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.catalogue import NamedCatalogue
from recommender.colisten import Colisten
from recommender.errors import ModelFormatError
from recommender.qtable import QTable
from recommender.scoring import Scorer
from serving import golden
from serving.lineup import Lineup
from serving.metrics import MODEL_REFUSED, MODEL_STALE, MODEL_VERSION
from serving.model_copies import ModelCopies
from serving.model_registry import (
    CHALLENGER,
    CHAMPION,
    ModelRegistry,
    RegistryUnavailableError,
    ServedModel,
    read_files,
    without_manifest,
)
from serving.served import Served

MODELS: Mapping[str, Any] = {"scorer": Scorer, "colisten": Colisten, "qtable": QTable}
"""Every model of a list by its registered name."""

OPTIONAL = frozenset({"colisten", "qtable"})
"""Models that a list can be made without."""

REST_SECONDS = 0.05
"""After each golden list while callers are answered."""

TRY_AGAIN_ROUNDS = 30
"""A refused version is looked at again that often: its folder may have been out of reach."""

Models = Mapping[str, ServedModel[Any]]

log = logging.getLogger("bondhu.models")


def serve(
    named: NamedCatalogue, models: Models, indices: Path, before: Served | None = None
) -> Served:
    """Return models on a catalogue, whose index is kept in a folder; see `Served.of`."""
    scorer, colisten, qtable = models["scorer"], models.get("colisten"), models.get("qtable")
    return Served.of(named, scorer, colisten, qtable, indices=indices, before=before)


class Versions:
    """Follows the aliases of a registry.

    Parameters
    ----------
    indices
        The folder that keeps the catalogue's index.
    share, shadow_share
        See `Lineup`.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        copies: ModelCopies,
        *,
        indices: Path,
        share: float,
        shadow_share: float,
    ) -> None:
        self._indices = indices
        self._registry = registry
        self._copies = copies
        self._share, self._shadow_share = share, shadow_share
        self._models: dict[str, dict[str, ServedModel[Any]]] = {CHAMPION: {}, CHALLENGER: {}}
        self._catalogue: NamedCatalogue | None = None
        self._registry_is_away = False
        self._rounds = 0
        self._rest = 0.0
        self._latest: Served | None = None
        """What was made last, for what it worked out of the catalogue."""
        self.refused: dict[str, tuple[int, str]] = {}
        """What was refused and why: 'scorer champion' -> (version, reason)."""

    @property
    def is_stale(self) -> bool:
        """Whether listeners get older versions than the registry names."""
        return self._registry_is_away or any(CHAMPION in which for which in self.refused)

    def open(self, named: NamedCatalogue) -> Lineup:
        """Load what the registry names, or the last good copies.

        Raises
        ------
        ModelFormatError
            A model has no version that can be served.
        RegistryUnavailableError
            The registry is away and there is no local copy.
        """
        self._catalogue = named
        for name in MODELS:
            try:
                self._follow(name, CHAMPION, named)
            except RegistryUnavailableError as error:
                self._say_away(error)
                if not self._use_copy(name, named) and name not in OPTIONAL:
                    raise
            if name in OPTIONAL:
                continue
            if name not in self._models[CHAMPION] and not self._use_copy(name, named):
                version, reason = self.refused[f"{name} {CHAMPION}"]
                raise ModelFormatError(f"{name} {version} is refused: {reason}")
        lineup = self.refreshed(named) or self._lineup(named)
        self._rest = REST_SECONDS
        return lineup

    def refreshed(self, named: NamedCatalogue) -> Lineup | None:
        """Return the new lineup where an alias or the catalogue moved, else None."""
        moved = named is not self._catalogue
        self._rounds += 1
        try:
            for name in MODELS:
                moved = self._follow(name, CHAMPION, named) or moved
                moved = self._follow(name, CHALLENGER, named) or moved
            if self._registry_is_away:
                log.info("The model registry is back")
            self._registry_is_away = False
        except RegistryUnavailableError as error:
            self._say_away(error)
        MODEL_STALE.set(float(self.is_stale))
        if not moved:
            return None
        self._catalogue = named
        return self._lineup(named)

    def tell_metrics(self) -> None:
        """Say which versions are served."""
        for alias, models in self._models.items():
            for name, model in models.items():
                MODEL_VERSION.labels(name, alias).set(model.version)

    def _lineup(self, named: NamedCatalogue) -> Lineup:
        champions = self._models[CHAMPION]
        challengers = {
            name: model
            for name, model in self._models[CHALLENGER].items()
            if name not in champions or champions[name].version != model.version
        }
        return Lineup(
            champion=self._serve(named, champions),
            challenger=self._serve(named, champions | challengers) if challengers else None,
            share=self._share,
            shadow_share=self._shadow_share,
        )

    def _follow(self, name: str, alias: str, named: NamedCatalogue) -> bool:
        """Take over the version that an alias names, if it is another; return whether it is."""
        found = self._registry.aliased(name, alias)
        which = f"{name} {alias}"
        now = self._models[alias].get(name)
        if found is None:
            return self._withdrawn(name, alias)
        if now is not None and now.version == found.version:
            self.refused.pop(which, None)
            return False
        before = self.refused.get(which)
        if before and before[0] == found.version and self._rounds % TRY_AGAIN_ROUNDS:
            return False
        try:
            files = read_files(self._registry, found)
            model = ServedModel(found.version, MODELS[name].from_files(without_manifest(files)))
            self._try(name, model, named)
        except ModelFormatError as error:
            self.refused[which] = (found.version, str(error))
            if self.refused[which] != before:
                MODEL_REFUSED.inc()
                going_on = f"version {now.version} goes on" if now else "there is none before it"
                log.error("Refused %s %d: %s; %s", which, found.version, error, going_on)
            return False
        if alias == CHAMPION:
            self._copies.keep(name, found.version, found.manifest_sha256, files)
        self.refused.pop(which, None)
        self._models[alias][name] = model
        log.info("%s %d passed its checks", which, found.version)
        return True

    def _withdrawn(self, name: str, alias: str) -> bool:
        """Let go of what no alias names any more, if a list can be made without it."""
        now = self._models[alias].get(name)
        if alias == CHAMPION and name not in OPTIONAL:
            if now is None:
                raise ModelFormatError(
                    f"no version of {name} is champion: run 'bondhu train {name}'"
                )
            return False  # the version before goes on
        self.refused.pop(f"{name} {alias}", None)
        if now is None:
            return False
        del self._models[alias][name]
        return True

    def _try(self, name: str, model: ServedModel[Any], named: NamedCatalogue) -> None:
        """Ask a version for the golden lists, beside the champions of the other models."""
        others = self._models[CHAMPION] | {name: model}
        if set(MODELS) - OPTIONAL <= set(others):
            golden.check(self._serve(named, others), rest_seconds=self._rest)

    def _serve(self, named: NamedCatalogue, models: Models) -> Served:
        self._latest = serve(named, models, self._indices, self._latest)
        return self._latest

    def _use_copy(self, name: str, named: NamedCatalogue) -> bool:
        """Serve the last good copy; return whether there is one."""
        kept = self._copies.last_good(name)
        if kept is None:
            return False
        version, files = kept
        try:
            model = ServedModel(version, MODELS[name].from_files(without_manifest(files)))
            self._try(name, model, named)
        except ModelFormatError as error:
            log.error("The local copy of %s %d cannot be served: %s", name, version, error)
            return False
        self._models[CHAMPION][name] = model
        log.warning("Serving the local copy of %s %d", name, version)
        return True

    def _say_away(self, error: RegistryUnavailableError) -> None:
        if not self._registry_is_away:
            log.error("%s: what is served goes on", error)
        self._registry_is_away = True
