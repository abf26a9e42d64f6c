"""Margins: how much a promotion asks for, set before anything is tested."""

from dataclasses import asdict, dataclass, fields

from training.errors import TrainingError
from training.evaluation.mismatch import MARGIN


@dataclass(frozen=True)
class Margins:
    """How much of what a promotion asks for, set before anything is tested.

    Attributes
    ----------
    gain
        The lower bound of the gain in NDCG@10 must lie above it.
    effective_n
        Kish's sample size of the gain must reach it.
    carriers
        So must that of the listeners whose lists differ, see
        `training.evaluation.evidence.evidence_of`.
    stage, group
        How much NDCG@10 one stage or listener group may lose.
    coverage
        Which share of the champion's coverage of artists may be lost.
    entropy
        How many bits a list may lose, in the mean.
    latency_ms
        How much longer ranking a list may take.
    off_policy
        How much of the mean reward per randomised slot may be lost, by the log.
    mismatch
        The largest share of live lists' component values that training cannot repeat.

    Examples
    --------
    >>> Margins.of(["gain=0.01", "effective_n=100"]).gain
    0.01
    """

    gain: float = 0.0
    effective_n: float = 30.0
    carriers: float = 10.0
    stage: float = 0.0
    group: float = 0.01
    coverage: float = 0.2
    entropy: float = 0.3
    latency_ms: float = 2.0
    off_policy: float = 0.0
    mismatch: float = MARGIN

    @classmethod
    def of(cls, settings: list[str]) -> "Margins":
        """Read NAME=NUMBER settings.

        Raises
        ------
        TrainingError
            A name is unknown, or a number is none or negative.
        """
        names = [field.name for field in fields(cls)]
        chosen: dict[str, float] = {}
        for setting in settings:
            name, _, text = setting.partition("=")
            try:
                chosen[name] = float(text)
            except ValueError:
                chosen[name] = -1.0
            if name not in names or not 0 <= chosen[name] < float("inf"):
                raise TrainingError(
                    f"a margin is NAME=NUMBER with a number from 0 on, not {setting!r};"
                    f" names: {', '.join(names)}"
                )
        return cls(**chosen)

    def changed(self) -> dict[str, float]:
        """Return the margins that are not the default ones.

        Examples
        --------
        >>> Margins(gain=0.01).changed()
        {'gain': 0.01}
        """
        usual = asdict(Margins())
        return {name: value for name, value in asdict(self).items() if value != usual[name]}
