"""What the registry must know of a kind of model, to keep any of them the same way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import pandas as pd


class Model(Protocol):
    """A model of the core: it knows its own files, JSON and .npy only.

    The service loads the very same files by the same method.
    """

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read the files; raises ModelFormatError where they are not this model's."""
        ...

    def to_files(self) -> Mapping[str, bytes]:
        """Return file name -> bytes: the same model always gives the same bytes."""
        ...


class Predictor(Protocol):
    """What MLflow's pyfunc calls."""

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, object] | None = None
    ) -> pd.DataFrame:
        """Return one row of output per row of input."""
        ...


M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class ModelKind(Generic[M]):
    """One registered model.

    Attributes
    ----------
    name
        What it is registered as.
    model
        The class of the core whose files are kept.
    flavour
        The module whose `_load_pyfunc` reads the files back for MLflow.
    predictor
        Wraps a model for MLflow.
    example
        Returns a few rows of input for a model; they, and what it makes of them, are its signature.
    """

    name: str
    model: type[M]
    flavour: str
    predictor: Callable[[M], Predictor]
    example: Callable[[M], pd.DataFrame]
