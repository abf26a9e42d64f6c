"""Gates: what must hold before a version reaches listeners.

Three ask whether the run can be believed (`reproducible`, `trainable`, `leak`), two whether its
comparison applies (`evidence`, `baseline`), two whether it is better (`gain`, `effective_n`), and
the rest whether anything is worse: a guarded metric falls if its mean falls by more than the margin
and its interval lies below 0, so that a small group is not judged by noise.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from recommender.cold_start import Stage
from training.errors import TrainingError
from training.evaluation.intervals import Interval
from training.evaluation.served_lists import GAIN
from training.review.margins import Margins
from training.runs import (
    AUDIO_ESTIMATOR,
    BASELINE,
    BY_HAND,
    COLISTEN_TAG,
    COMPARED_WITH,
    FITTED_FROM_TAG,
    HISTORIES,
    REPRODUCED_TAG,
    SCORER,
    Version,
)

PRIOR_VERSION = 1
FEWEST_IN_GROUP = 6
"""With fewer listeners a bootstrap's interval is no guard: all of five lose by chance once in 32
times, and one alone has an interval without width."""


GAINS = {AUDIO_ESTIMATOR: "gain_mae"}
"""Model -> the metric of its gain, where that is not a gain in lists."""


@dataclass(frozen=True)
class Finding:
    """What one gate says; the message is one line, without the gate's name."""

    gate: str
    passed: bool
    message: str


@dataclass(frozen=True)
class Case:
    """A candidate before the gates.

    Attributes
    ----------
    champion
        None where nobody serves.
    metrics, tags
        Of the candidate's run.
    """

    candidate: Version
    champion: Version | None
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    margins: Margins

    @property
    def over(self) -> str:
        """What the gain is over, in words: not today's champion, where another was compared."""
        champion = "0" if self.champion is None else str(self.champion.number)
        number = self.candidate.tags.get(BASELINE, champion)
        compared = "nothing" if number in {"0", "none"} else f"version {number}"
        return f"over {self.candidate.tags.get(COMPARED_WITH, compared)}"

    def value(self, name: str) -> float:
        """Return a metric that the run must have."""
        try:
            return self.metrics[name]
        except KeyError:
            raise TrainingError(f"its run has no metric {name!r}: train again") from None

    def interval(self, name: str) -> Interval:
        """Return a metric with its interval."""
        return Interval(*(self.value(name + end) for end in ("", "_low", "_high")))

    def has(self, name: str) -> bool:
        """Return whether a gate that reads this metric applies: to a scorer always."""
        return self.candidate.name == SCORER or name in self.metrics


def findings(case: Case) -> list[Finding]:
    """Return what every gate says that applies, in the order in which they are asked.

    A run that cannot be believed is not compared; nor is one where nobody serves.

    Raises
    ------
    TrainingError
        The run lacks a metric that a gate reads.
    """
    believed = [finding for gate in BELIEVED for finding in gate(case)]
    if case.champion is None or not all(finding.passed for finding in believed):
        return believed
    return believed + [finding for gate in COMPARED for finding in gate(case)]


def _reproducible(case: Case) -> Iterator[Finding]:
    word = case.tags.get(REPRODUCED_TAG)
    if word is not None:
        said = "gave the same model" if word == "yes" else "gave another model (tag reproduced)"
        yield Finding("reproducible", word == "yes", f"training again from equal data {said}")


def _trainable(case: Case) -> Iterator[Finding]:
    if case.has("barred_rows_used"):
        used = case.value("barred_rows_used")
        which = case.tags.get("barred_rows") or "none"
        yield Finding(
            "trainable",
            used == 0,
            f"it used {used:.0f} rows that may not be trained on ({which}), 0 are allowed",
        )


def _leak(case: Case) -> Iterator[Finding]:
    if case.has("leaking_values"):
        leaking, looked_at = case.value("leaking_values"), case.value("leak_checked_values")
        yield Finding(
            "leak",
            leaking == 0 < looked_at,
            f"{leaking:.0f} of {looked_at:.0f} component values of its test depend on what was"
            " hidden, 0 are allowed",
        )


def _evidence(case: Case) -> Iterator[Finding]:
    candidate, champion = case.candidate, case.champion
    if champion is None or candidate.tags.get(FITTED_FROM_TAG) != HISTORIES:
        return
    weighs_more = COLISTEN_TAG in candidate.tags and COLISTEN_TAG not in champion.tags
    yield Finding(
        "evidence",
        champion.number == PRIOR_VERSION or weighs_more,
        f"fitted from histories alone, it may follow version {PRIOR_VERSION} only,"
        f" and the champion is version {champion.number}",
    )


def _baseline(case: Case) -> Iterator[Finding]:
    baseline, champion = case.candidate.tags.get(BASELINE), case.champion
    number = 0 if champion is None else champion.number
    compared = f"version {baseline}" if baseline else "no version"
    same = baseline == str(number)
    end = "" if same else ": train again"
    yield Finding(
        "baseline", same, f"it was compared with {compared}, the champion is version {number}{end}"
    )


def _effective_n(case: Case) -> Iterator[Finding]:
    # A model whose listeners all weigh the same logs their number.
    listeners = "effective_n" if case.has("effective_n") else "listeners_test"
    for name, floor, what in (
        (listeners, case.margins.effective_n, "its gain rests on {:.1f} listeners"),
        ("gain_carriers", case.margins.carriers, "its gain is carried by {:.1f} listeners"),
    ):
        if case.has(name):
            value = case.value(name)
            short = f", {floor - value:.1f} too few" if value < floor else ""
            yield Finding(
                "effective_n",
                value >= floor,
                f"{what.format(value)} in effect, the floor is {floor:g}{short}",
            )


def _gain(case: Case) -> Iterator[Finding]:
    gain, margin = case.interval(GAINS.get(case.candidate.name, GAIN)), case.margins.gain
    passed = gain.low > margin
    missed = "" if passed else f", the lower bound misses {margin:g} by {margin - gain.low:.4f}"
    yield Finding("gain", passed, f"its gain {case.over} is {gain}{missed}")


def _stage(case: Case) -> Iterator[Finding]:
    for stage in Stage:
        if f"{stage}/{GAIN}" in case.metrics:  # not of a model without stages
            gain = case.interval(f"{stage}/{GAIN}")
            what = f"its gain {case.over} in {stage} is {gain}"
            yield _guarded("stage", gain, case.margins.stage, what)


def _group(case: Case) -> Iterator[Finding]:
    for name in sorted(case.metrics):
        if name.startswith("group/") and name.endswith(f"/{GAIN}"):
            gain, group = case.interval(name), name.split("/")[1]
            what = f"its gain {case.over} in group {group} is {gain}"
            listeners = case.metrics.get(f"group/{group}/listeners", float("inf"))
            if listeners < FEWEST_IN_GROUP:
                what += f"; not held against it: {listeners:.0f} listeners are too few"
                yield Finding("group", True, what)
            else:
                yield _guarded("group", gain, case.margins.group, what)


def _coverage(case: Case) -> Iterator[Finding]:
    if case.has("gain_artist_coverage"):
        before = case.value("champion_artist_coverage")
        change = case.interval("gain_artist_coverage")
        what = f"the share of artists that lists name changes by {change} from {before:.4f}"
        yield _variety("coverage", case, change, case.margins.coverage * before, what)


def _entropy(case: Case) -> Iterator[Finding]:
    if case.has("gain_entropy"):
        change = case.interval("gain_entropy")
        what = f"the bits of a list's genres change by {change}"
        yield _variety("entropy", case, change, case.margins.entropy, what)


def _latency(case: Case) -> Iterator[Finding]:
    if case.has("latency_ms"):
        after, before = case.value("latency_ms"), case.value("champion_latency_ms")
        slower = Interval(before - after, before - after, before - after)
        what = f"ranking a list takes {after:.2f} ms, the champion takes {before:.2f} ms"
        yield _guarded("latency", slower, case.margins.latency_ms, what)


def _off_policy(case: Case) -> Iterator[Finding]:
    """Judge the value off policy where the log holds enough listeners to say something."""
    if case.metrics.get("off_policy_effective_n", 0.0) >= case.margins.effective_n:
        change = case.interval("off_policy_gain")
        listeners = case.value("off_policy_effective_n")
        what = f"its reward per drawn slot changes by {change}, {listeners:.1f} listeners in effect"
        yield _guarded("off_policy", change, case.margins.off_policy, what)


def _mismatch(case: Case) -> Iterator[Finding]:
    if "train_serve_mismatch" in case.metrics:
        share, lists = case.metrics["train_serve_mismatch"], case.metrics.get("mismatch_lists", 0)
        most = case.margins.mismatch
        over = f", {share - most:.4f} too many" if share > most else ""
        yield Finding(
            "mismatch",
            share <= most,
            f"training cannot repeat {share:.4f} of the component values of {lists:.0f} lists as"
            f" they were served, {most:g} are allowed{over}",
        )


def _variety(gate: str, case: Case, change: Interval, margin: float, what: str) -> Finding:
    """Guard what lists name against a fitted champion; the hand-set prior's is no standard.

    Lists that hardly know their listener name anything: chance has the most variety of all.
    """
    finding = _guarded(gate, change, margin, what)
    by_hand = case.champion is not None and case.champion.tags.get(FITTED_FROM_TAG) == BY_HAND
    if by_hand and not finding.passed:
        return Finding(
            gate, True, f"{finding.message}; not held against it: the prior was set by hand"
        )
    return finding


def _guarded(gate: str, change: Interval, margin: float, what: str) -> Finding:
    """Judge a metric that may not fall by more than its margin and more than by chance."""
    falls = not (change.mean >= -margin or change.high >= 0)  # what is no number falls
    by = f", {-margin - change.mean:.4f} beyond its margin of {margin:.4f}" if falls else ""
    return Finding(gate, not falls, what + by)


Gate = Callable[[Case], Iterator[Finding]]
BELIEVED: tuple[Gate, ...] = (_reproducible, _trainable, _leak)
COMPARED: tuple[Gate, ...] = (
    _evidence,
    _baseline,
    _gain,
    _effective_n,
    _stage,
    _group,
    _coverage,
    _entropy,
    _latency,
    _off_policy,
    _mismatch,
)
