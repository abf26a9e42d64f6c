"""Worlds: the assumptions that listeners are drawn from, read from a file and checked."""

from dataclasses import dataclass, fields
from pathlib import Path

import msgspec

from training.errors import TrainingError

WORLDS = Path(__file__).with_name("worlds.json")
"""The three worlds that policies are compared in; fixed before any policy was tuned."""


class WorldError(TrainingError):
    """A file of worlds makes no sense; the message names the place."""


@dataclass(frozen=True)
class World:
    """One world.

    A listener u likes a track of category c with probability sigmoid(base_logit + popularity_c +
    taste_uc), popularity and taste being normal; taste follows the traits as far as published.

    Attributes
    ----------
    categories
        How many there are.
    popularity_sd, taste_sd
        On the logit.
    base_logit
        Of a track that is neither popular nor to a taste.
    trait_effect
        Multiplies the published correlations of genres and traits (all |r| <= .16): 0 none,
        1 published.
    transfer_sd
        Of noise added to each correlation: this population is not the published one.
    drift
        Share of a taste's variance that is drawn anew between two lists, in [0, 1].
    listeners, interactions
        How many listeners, and how many judged tracks each.
    slots, pool
        Tracks in a list, and tracks that it is chosen from, their categories drawn uniformly: the
        product's 50 of 500.
    goes_on_liked, goes_on_disliked
        Cascade: the probability of going on to the next position. What is not reached is not
        judged.
    position_bias
        A reached track at position k is looked at with probability k^-position_bias.
    dislikes
        Share of the unliked that get a dislike; the others are skipped.

    Examples
    --------
    >>> World("small", categories=3).slots
    10
    """

    name: str
    categories: int = 20
    popularity_sd: float = 1.0
    taste_sd: float = 1.0
    base_logit: float = -0.5
    trait_effect: float = 1.0
    transfer_sd: float = 0.0
    drift: float = 0.01
    listeners: int = 300
    interactions: int = 50
    slots: int = 10
    pool: int = 100
    goes_on_liked: float = 0.9
    goes_on_disliked: float = 0.8
    position_bias: float = 0.2
    dislikes: float = 0.1

    def __post_init__(self) -> None:
        """Check every bound."""
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise WorldError(
                    f"world '{self.name}': {name} is {value}, it must be from {low} to {high}"
                )
        if self.pool < self.slots:
            raise WorldError(f"world '{self.name}': a list of {self.slots} from {self.pool} tracks")


BOUNDS: dict[str, tuple[float, float]] = {
    "categories": (2, 1000),
    "popularity_sd": (0.0, 5.0),
    "taste_sd": (0.0, 5.0),
    "base_logit": (-5.0, 5.0),
    "trait_effect": (0.0, 3.0),
    "transfer_sd": (0.0, 0.2),
    "drift": (0.0, 1.0),
    "listeners": (1, 1_000_000),
    "interactions": (1, 100_000),
    "slots": (1, 100),
    "pool": (1, 1000),
    "goes_on_liked": (0.0, 1.0),
    "goes_on_disliked": (0.0, 1.0),
    "position_bias": (0.0, 2.0),
    "dislikes": (0.0, 1.0),
}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    schema: int
    worlds: list[dict[str, object]]


def read_worlds(path: Path = WORLDS) -> list[World]:
    """Read a file of worlds: {"schema": 1, "worlds": [{"name": ..., field of `World`: ...}]}.

    Raises
    ------
    WorldError
        It cannot be read, or a field is unknown, of the wrong type or out of bounds.

    Examples
    --------
    >>> [(world.name, world.popularity_sd, world.taste_sd) for world in read_worlds()]
    [('tastes', 0.5, 1.0), ('mixed', 1.0, 1.0), ('hits', 1.5, 0.5)]
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
        if file.schema != 1 or not file.worlds:
            raise WorldError(f"{path}: schema 1 with at least one world is known here")
        known = {field.name for field in fields(World)}
        for entry in file.worlds:
            if unknown := set(entry) - known:
                raise WorldError(f"{path}: a world has no field {', '.join(sorted(unknown))}")
        worlds = msgspec.convert(file.worlds, list[World])
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise WorldError(f"{path} is no file of worlds: {error}") from None
    if len({world.name for world in worlds}) < len(worlds):
        raise WorldError(f"{path}: two worlds have one name")
    return worlds
