"""How it is asked: the service that scores candidates online.

`service` wires everything and is what BentoML loads; `api` speaks HTTP; `recommend` and `feedback`
are the two flows; `open` is for programs that want both without HTTP. A worker imports neither
mlflow nor scikit-learn nor pandas.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from features.settings import Settings
    from serving.history import HistorySource
    from serving.program import Bondhu


def open(settings: "Settings", *, history: "HistorySource | None" = None) -> "Bondhu":
    """Return Bondhu for use inside this process; see `serving.program.Bondhu`."""
    from serving.program import Bondhu  # noqa: PLC0415 - importing the package stays cheap

    return Bondhu(settings, history=history)
