"""One training run of the model `audio_estimator`, from Postgres to a registered version.

Its error is taken out of fold: each track is estimated by a model, and by means of its artist, that
never saw it. Beside it stands what anybody would do without a model: the artist's mean, or the mean
of all where the artist is new.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from recommender.audio import FEATURES, FloatArray
from recommender.audio_estimator import AudioEstimator
from training.audio_estimator_flavour import KIND
from training.code_version import code_version
from training.data.audio_examples import AudioExamples, read_examples
from training.data.data_parts import DATA_FILE, to_file
from training.data.holdout import draw_of
from training.evaluation.intervals import Interval, bootstrap
from training.figures import learning_curve_figure
from training.fit.audio_fit import RIDGE, Tags, artist_means, fit, fit_tagged
from training.review.promotion import SOMEBODY, Decision, carry_out
from training.runs import BASELINE, COMPARED_WITH, Run, Version

if TYPE_CHECKING:  # importing it takes seconds
    from training.registry import Registry

FOLDS = 5
SHARES = (0.1, 0.3, 1.0)
"""Of the tracks that fit, for the learning curve."""
TEMPO_BPM = 150.0
"""What 1 of the scaled tempo is worth."""
MOST_RESAMPLED = 10_000
"""Of more tracks a mean is so near to normal that its interval is written down: drawing 100,000
tracks anew 2,000 times gives the same to three digits, and twelve such figures took 15 s."""
NORMAL_95 = 1.959964


@dataclass(frozen=True)
class TrainedEstimator:
    """What a training run came to.

    Attributes
    ----------
    metrics
        Name -> interval, see `out_of_fold`.
    promoted
        Whether it is the champion now: its gain over no model is more than chance.
    """

    run_id: str
    version: int
    estimator: AudioEstimator
    metrics: Mapping[str, Interval]
    refused: Mapping[str, int]
    promoted: bool


def train_audio_estimator(
    engine: sa.Engine,
    registry: "Registry",
    *,
    seed: int = 7,
    now: datetime,
    decide: bool = True,
    examples: AudioExamples | None = None,
    timer: Callable[[], float] = time.perf_counter,
) -> TrainedEstimator:
    """Fit an estimator, take its error out of fold, register it, and promote it if it helps.

    Equal seed and data give files of equal bytes.

    Parameters
    ----------
    decide
        Whether it is promoted here, if it helps; else `promote_if_it_helps` does so later.
    examples
        What it is fitted to, where that has been read already.

    Raises
    ------
    NothingTrainableError
        Too few tracks may be used.
    """
    began = timer()
    examples = examples or read_examples(engine)
    with threadpool_limits(limits=1):  # sums in another order would differ in their last bits
        metrics = out_of_fold(examples, seed)
        curve = learning_curve(examples, seed)
        estimator = fit(examples.audio, examples.artist, examples.genres)
    seconds = timer() - began
    champion = registry.champion(KIND.name)
    version = registry.log_run(
        Run(
            name=f"audio_estimator seed {seed}",
            params={
                "seed": seed,
                "now": now.isoformat(),
                "ridge": RIDGE,
                "folds": FOLDS,
                "genres": len(estimator.genres),
            },
            metrics=_flat(metrics) | {"tracks": float(len(examples)), "seconds": seconds},
            tags={
                "data_sha256": examples.sha256,
                "code_version": code_version(Path(__file__).parent),
                "refused": ", ".join(f"{n} {name}" for name, n in examples.refused.items()),
            },
            data=("audio_features", examples.sha256, "as they are"),
            figures={
                "learning_curve.png": learning_curve_figure(
                    curve,
                    of="tracks with audio features",
                    measured="mean absolute error",
                    peer=("without a model", metrics["without_model_mae"].mean),
                )
            },
            files={DATA_FILE: to_file(examples.parts)},
            started_at=now,
            seconds=seconds,
        ),
        KIND,
        estimator,
        {BASELINE: str(champion.number if champion else 0), COMPARED_WITH: "having no model"},
    )
    promoted = decide and promote_if_it_helps(registry, version, now=now).promoted
    return TrainedEstimator(
        version.run_id, version.number, estimator, metrics, examples.refused, promoted
    )


def promote_if_it_helps(
    registry: "Registry", version: Version, *, now: datetime, who: str = SOMEBODY
) -> Decision:
    """Make a version the champion where its error is lower than without one, beyond chance."""
    found = registry.metrics(version.run_id)
    names = ("gain_mae", "gain_mae_low", "gain_mae_high")
    gain = Interval(*(found.get(name, float("nan")) for name in names))
    promoted = gain.low > 0
    decision = Decision(
        promoted,
        None if promoted else "gain",
        f"{version}: its out-of-fold gain over no model is {gain}",
    )
    carry_out(registry, version, decision, who=who, now=now)
    return decision


def out_of_fold(examples: AudioExamples, seed: int) -> dict[str, Interval]:
    """Return the mean absolute errors, each over tracks, with 95% intervals.

    Returns
    -------
    `mae` over all seven features in [0, 1]; `mae_FEATURE` (`mae_tempo_bpm` in BPM);
    `mae_known_artist` and `mae_new_artist`; `without_model_mae`; `gain_mae`, their difference
    paired by track.
    """
    fold = np.array([draw_of(track, seed, "audio") % FOLDS for track in examples.track_ids])
    tags = Tags.of(examples.genres)
    ours, without = np.full_like(examples.audio, np.nan), np.full_like(examples.audio, np.nan)
    is_known = np.zeros(len(examples), dtype=np.bool_)
    for number in range(FOLDS):
        hidden, seen = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if not len(hidden) or not len(seen):
            continue
        audio, artist = examples.audio[seen], examples.artist[seen]
        model = fit_tagged(audio, artist, tags.take(seen))
        means, counts = artist_means(audio, artist, examples.artist[hidden])
        ours[hidden] = model.estimate(means, counts, [examples.genres[i] for i in hidden.tolist()])
        without[hidden] = np.where(np.isnan(means), np.nanmean(audio, axis=0), means)
        is_known[hidden] = counts > 0
    # Where there is no estimate there is no error: such a track stays without, by both.
    error = np.abs(ours - examples.audio)
    error_without = np.where(np.isnan(ours), np.nan, np.abs(without - examples.audio))
    metrics = {
        "mae": _mean(error, seed),
        "mae_known_artist": _mean(error[is_known], seed),
        "mae_new_artist": _mean(error[~is_known], seed),
        "without_model_mae": _mean(error_without, seed),
        "gain_mae": _mean(error_without - error, seed),
    }
    for place, feature in enumerate(FEATURES):
        column = error[:, place : place + 1]
        is_tempo = feature == "tempo"
        name = "mae_tempo_bpm" if is_tempo else f"mae_{feature}"
        metrics[name] = _mean(column * (TEMPO_BPM if is_tempo else 1.0), seed)
    return metrics


def learning_curve(examples: AudioExamples, seed: int) -> dict[int, Interval]:
    """Return the error on the same fifth of the tracks where only some of the others fit."""
    fold = np.array([draw_of(track, seed, "audio") % FOLDS for track in examples.track_ids])
    hidden, seen = np.flatnonzero(fold == 0), np.flatnonzero(fold != 0)
    if not len(hidden) or not len(seen):
        return {}
    order = sorted(seen.tolist(), key=lambda i: draw_of(examples.track_ids[i], seed, "curve"))
    tags, curve = Tags.of(examples.genres), {}
    genres = [examples.genres[i] for i in hidden.tolist()]
    for size in sorted({max(1, int(share * len(order))) for share in SHARES}):
        some = np.array(sorted(order[:size]))
        audio, artist = examples.audio[some], examples.artist[some]
        model = fit_tagged(audio, artist, tags.take(some))
        means, counts = artist_means(audio, artist, examples.artist[hidden])
        error = np.abs(model.estimate(means, counts, genres) - examples.audio[hidden])
        curve[size] = _mean(error, seed)
    return curve


def _mean(error: FloatArray, seed: int) -> Interval:
    """Return the mean over tracks of their mean over features."""
    known: NDArray[np.bool_] = np.logical_not(np.isnan(error).all(axis=1))
    if not known.any():
        return Interval(float("nan"), float("nan"), float("nan"))
    values: FloatArray = np.nanmean(error[known], axis=1)
    if len(values) <= MOST_RESAMPLED:
        return bootstrap(values, seed)
    mean = float(values.mean())
    reach = NORMAL_95 * float(values.std()) / len(values) ** 0.5
    return Interval(mean, mean - reach, mean + reach)


def _flat(metrics: Mapping[str, Interval]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, interval in metrics.items():
        if not np.isnan(interval.mean):
            flat |= {name: interval.mean, f"{name}_low": interval.low}
            flat[f"{name}_high"] = interval.high
    return flat
