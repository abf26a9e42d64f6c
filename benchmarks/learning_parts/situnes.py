"""Off-policy estimates on SiTunes' randomised exposures: few, and assumed uniform.

What is learned comes from all other ratings (stage 1, and stage 2 but for its `Rand` rows); what is
estimated is the mean reward, (rating - 3) / 2 in [-1, 1], of showing one track by each policy. The
logging propensity is assumed to be 1/27, uniform over the items that `Rand` showed. Nobody there
has a personality: every band of it is `none`.
"""

import csv
import gzip
from pathlib import Path

import numpy as np

from benchmarks.results import Row
from recommender.audio import FEATURES, FloatArray, audio_rows
from recommender.exploration import TEMPER
from recommender.genres import OTHER, categorise
from recommender.qlearning import join_state, listener_state, track_states
from recommender.qtable import QTable
from recommender.race import best_probabilities
from recommender.replay import replay_log

RESAMPLES = 2000


def _read(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def situnes(folder: Path) -> list[Row]:
    """Return one row per policy: SNIPS with a bootstrap over listeners, IPS and sample size."""
    music = {row["item_id"]: row for row in _read(folder / "music.csv.gz")}
    first, second = _read(folder / "stage1.csv.gz"), _read(folder / "stage2.csv.gz")
    rand = [row for row in second if row["rec_type"] == "Rand"]
    rest = first + [row for row in second if row["rec_type"] != "Rand"]
    state = _states(sorted({row["item_id"] for row in first + second}), music)
    items = sorted({row["item_id"] for row in rand})
    place = {item: i for i, item in enumerate(items)}
    states = [state[item] for item in items]
    logs: dict[str, list[tuple[str, float]]] = {}
    for row in rest:
        logs.setdefault(row["user_id"], []).append((state[row["item_id"]], _reward(row)))
    day = 19_000.0
    table = QTable.of(((s, day, r) for log in logs.values() for s, r in log), as_of_day=day)
    users = sorted({row["user_id"] for row in rand})
    policies = {user: _policies(user, logs.get(user, []), table, states) for user in users}
    rows = []
    for name in policies[users[0]]:
        weight = np.array(
            [policies[r["user_id"]][name][place[r["item_id"]]] * len(items) for r in rand]
        )
        rows.append(_estimate(name, weight, rand))
    return rows


def _reward(row: dict[str, str]) -> float:
    return (float(row["rating"]) - 3.0) / 2.0


def _states(items: list[str], music: dict[str, dict[str, str]]) -> dict[str, str]:
    raw = np.full((len(items), len(FEATURES)), np.nan)
    categories = []
    for at, item in enumerate(items):
        row = music.get(item)
        if row is not None:
            raw[at] = [float(row[f]) if row[f] else np.nan for f in FEATURES]
        genre = row["general_genre"] if row else ""
        categories.append(categorise([genre]) or OTHER)
    halves, at_half = track_states(audio_rows(raw), categories)
    nobody = listener_state({})
    return {
        item: join_state(nobody, halves[h]) for item, h in zip(items, at_half.tolist(), strict=True)
    }


def _policies(
    user: str, log: list[tuple[str, float]], table: QTable, states: list[str]
) -> dict[str, FloatArray]:
    """Return each policy's probabilities over the items, for one listener."""
    own: dict[str, tuple[float, float]] = {}
    for s, r in log:
        weight, total = own.get(s, (0.0, 0.0))
        own[s] = (weight + 1.0, total + r)
    mean, spread = table.believed(states, own)
    q = replay_log(user, log)
    seed = _best(np.array([q.get(s, 0.0) for s in states]))
    n = len(states)
    greedy = _best(mean)
    return {
        "random": np.full(n, 1 / n),
        "seed rule, epsilon .1": 0.9 * seed + 0.1 / n,
        "pooled + greedy": greedy,
        "pooled + epsilon .1": 0.9 * greedy + 0.1 / n,
        "pooled + ucb": _best(mean + spread),
        "pooled + thompson": best_probabilities(mean[None], TEMPER * spread[None])[0],
        "pooled + thompson, untempered": best_probabilities(mean[None], spread[None])[0],
    }


def _best(values: FloatArray) -> FloatArray:
    is_best = values >= values.max() - 1e-12  # several items share a state
    shares: FloatArray = is_best / is_best.sum()
    return shares


def _estimate(name: str, weight: FloatArray, rand: list[dict[str, str]]) -> Row:
    reward = np.array([_reward(row) for row in rand])
    users = np.array([row["user_id"] for row in rand])
    ids = np.unique(users)
    rng = np.random.default_rng(1)
    by_user = [np.flatnonzero(users == user) for user in ids]
    values = []
    for _ in range(RESAMPLES):
        at = np.concatenate([by_user[i] for i in rng.integers(len(ids), size=len(ids))])
        if weight[at].sum() > 0:
            values.append(float((weight[at] * reward[at]).sum() / weight[at].sum()))
    low, high = np.quantile(values, [0.025, 0.975])
    return Row(
        "SiTunes Rand rows (few; propensity 1/27 assumed; personality none)",
        f"SNIPS reward of {name}, 95% over {len(ids)} listeners",
        float((weight * reward).sum() / weight.sum()),
        interval=(float(low), float(high)),
        peers={
            "IPS": float((weight * reward).mean()),
            "effective sample size": float(weight.sum() ** 2 / (weight**2).sum()),
            "rows": float(len(rand)),
        },
    )
