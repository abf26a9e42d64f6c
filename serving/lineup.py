"""Champion and challenger: who of the listeners gets which, and who only behind the scenes.

A listener's place in [0, 1) is a hash of their id and the challenger's versions: the same in every
worker, drawn anew for every challenger. Below the set share they get the challenger.
"""

import hashlib
from dataclasses import dataclass

from serving.model_registry import CHALLENGER, CHAMPION
from serving.served import Served


def place(user_id: str, experiment: str) -> float:
    """Return a listener's place in an experiment, uniform in [0, 1).

    Examples
    --------
    >>> round(place("ada", "scorer:2"), 3), place("ada", "scorer:2") == place("ada", "scorer:3")
    (0.343, False)
    """
    digest = hashlib.sha256(f"{experiment}\x1f{user_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass(frozen=True)
class Lineup:
    """What is served now.

    Attributes
    ----------
    champion, challenger
        Versions on the same catalogue; the challenger is None where no alias names one.
    share
        Of listeners that get the challenger, in [0, 1].
    shadow_share
        Of the others whose lists it ranks unseen, in [0, 1].
    """

    champion: Served
    challenger: Served | None = None
    share: float = 0.0
    shadow_share: float = 0.0

    @property
    def experiment(self) -> str:
        """What the draw of listeners depends on: the challenger's versions."""
        models = self.challenger.models if self.challenger else {}
        return ",".join(f"{name}:{version}" for name, version in sorted(models.items()))

    def of(self, user_id: str) -> tuple[Served, str | None]:
        """Return what a listener gets, and the side of the experiment; None: there is none."""
        if self.challenger is None or self.share <= 0.0:
            return self.champion, None
        if place(user_id, self.experiment) < self.share:
            return self.challenger, CHALLENGER
        return self.champion, CHAMPION

    def unseen_by(self, user_id: str) -> Served | None:
        """Return the challenger, if it ranks this listener's lists unseen."""
        if self.challenger is None or self.shadow_share <= 0.0:
            return None
        served, _ = self.of(user_id)
        if served is self.challenger:
            return None
        drawn = place(user_id, f"shadow {self.experiment}") < self.shadow_share
        return self.challenger if drawn else None
