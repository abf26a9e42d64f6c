"""The parts of a score, one file each.

A module here that defines `COMPONENT` is a component: dropping a file in is all it takes to add
one, its name is its key, and a model gives it a weight. Every component lies in [0, 1], 1 best.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Protocol

from recommender.audio import FloatArray
from recommender.listener import Listener
from recommender.tracks import Tracks


class Component(Protocol):
    """One reason to recommend a track, judged apart from the rest of the list."""

    phrase: str
    """How a list's explanation says it, after 'because'."""

    def __call__(self, listener: Listener, tracks: Tracks) -> FloatArray:
        """Return one value in [0, 1] per track; the inputs stay unchanged."""
        ...


def _discovered() -> dict[str, Component]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}").COMPONENT for name in names}


STATIC: Mapping[str, Component] = _discovered()
"""Every component of this package by its key."""

DIVERSITY = "diversity"
"""The one component that depends on what is already in the list: see recommender.diversity."""

KEYS: tuple[str, ...] = (*STATIC, DIVERSITY)


def evaluate(listener: Listener, tracks: Tracks) -> dict[str, FloatArray]:
    """Return every static component of every track: key -> (n,) float64."""
    return {key: component(listener, tracks) for key, component in STATIC.items()}
