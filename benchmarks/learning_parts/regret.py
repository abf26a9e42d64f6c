"""Regret in the three worlds: every rule, and libraries' bandits, on the same listeners."""

import subprocess
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from benchmarks.learning_peers.peers import GRID, Peer, environment
from benchmarks.results import Row
from recommender.audio import FloatArray
from recommender.exploration import Choices, Greedy, Policy, drawn
from training.evaluation.intervals import bootstrap
from training.simulation.arms import ARMS, DEFAULT, SEED, engagement, play
from training.simulation.learners import Learner
from training.simulation.session import Trace
from training.simulation.world import World, read_worlds

SEEDS = tuple(range(1, 21))
TUNING_SEEDS = (1001, 1002)
WORKERS = 2


@dataclass(frozen=True)
class PmfSlots:
    """Every position is drawn from the library's own probabilities."""

    rng: np.random.Generator
    name: str = "library"

    def explores(self, position: int) -> bool:
        """Return True."""
        return True

    def choose(self, score: FloatArray, spread: FloatArray) -> Choices:
        """Draw from what the library says, among what may stand."""
        chance = np.where(score > -np.inf, np.maximum(score, 1e-12), 0.0)
        return drawn(chance / chance.sum(axis=1, keepdims=True), self.rng)

    def draw(self, score: FloatArray, beliefs: object) -> tuple[int, float]:
        """Choose for one list."""
        choice, chance = self.choose(score[None], np.zeros((1, len(score))))
        return int(choice[0]), float(chance[0])


Job = tuple[World, int, str, str, FloatArray | None]
"""World, seed, name of an arm or library, its options, questionnaires."""


def one(job: Job) -> tuple[float, dict[str, float], FloatArray]:
    """Run one arm; return its mean regret per interaction, engagement, and regret over time."""
    world, seed, name, options, scores = job
    if not options:
        trace = play(world, ARMS[name], seed, scores)
    else:
        peers: list[Peer] = []

        def arm(x: FloatArray, c: int, rng: np.random.Generator) -> tuple[Learner, Policy]:
            peers.append(Peer(environment(), name, options, x, c=c, seed=seed))
            return peers[0], PmfSlots(rng) if name == "vw" else Greedy(0.0, rng)

        try:
            trace = play(world, arm, seed, scores)
        finally:
            for peer in peers:
                peer.close()
    return float(trace.regret.mean()), _engagement(world, trace, seed), trace.regret.mean(axis=0)


def _engagement(world: World, trace: Trace, seed: int) -> dict[str, float]:
    return engagement(trace, world.categories, seed)


def libraries() -> Mapping[str, tuple[str, ...]]:
    """Return the libraries that can be run here, with their settings; prints why one cannot."""
    try:
        environment()
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no library bandits: their environment cannot be made ({error})")
        return {}
    return GRID


def regret(scores: FloatArray | None, seeds: tuple[int, ...] = SEEDS) -> list[Row]:
    """Return the rows of regret and of engagement."""
    rows: list[Row] = []
    with ProcessPoolExecutor(WORKERS) as executor:
        for world in read_worlds():
            chosen: dict[str, str] = {}
            for library, settings in libraries().items():
                jobs = [(world, s, library, o, scores) for o in settings for s in TUNING_SEEDS]
                found = np.array([r[0] for r in executor.map(one, jobs)])
                means = found.reshape(len(settings), len(TUNING_SEEDS)).mean(axis=1)
                chosen[library] = settings[int(means.argmin())]
                print(f"{world.name}: {library} {chosen[library]}", flush=True)
            arms = [(name, "") for name in ARMS] + list(chosen.items())
            jobs = [(world, s, name, options, scores) for name, options in arms for s in seeds]
            results = list(executor.map(one, jobs))
            at = {name: i * len(seeds) for i, (name, _) in enumerate(arms)}
            runs = {name: results[start : start + len(seeds)] for name, start in at.items()}
            rows += _rows(world, runs, tuple(chosen))
            print(f"{world.name}: done", flush=True)
    return rows


Runs = Mapping[str, list[tuple[float, dict[str, float], FloatArray]]]


def _rows(world: World, runs: Runs, peers: tuple[str, ...]) -> list[Row]:
    values = {name: np.array([r[0] for r in found]) for name, found in runs.items()}
    means = {name: float(v.mean()) for name, v in values.items()}
    ours, seed = values[DEFAULT], values[SEED]
    task, at_random = f"world {world.name}", means["random"]
    interval = bootstrap(ours, seed=1)
    ratio = means[DEFAULT] / means[SEED]
    stretch = means[DEFAULT] / at_random
    rows = [
        Row(
            task,
            "regret per interaction, first 50",
            means[DEFAULT],
            interval=(interval.low, interval.high),
            peers={name: mean for name, mean in means.items() if name != DEFAULT},
            ratio=ratio,
            target="at most .6 x the seed rule",
            met=ratio <= 0.6,
        ),
        Row(
            task,
            "the same by random's",
            stretch,
            peers={name: mean / at_random for name, mean in means.items() if name != DEFAULT},
            ratio=stretch,
            target="stretch: at most .30",
            met=stretch <= 0.30,
        ),
    ]
    paired = bootstrap(ours - 0.6 * seed, seed=1)
    rows.append(
        Row(task, "default - .6 x seed rule, paired", paired.mean, (paired.low, paired.high))
    )
    if peers:
        best = min(peers, key=lambda name: means[name])
        over = bootstrap(ours - values[best], seed=1)
        rows.append(
            Row(
                task,
                f"default - best library ({best}), paired",
                over.mean,
                interval=(over.low, over.high),
                target="not above 0",
                met=over.low <= 0,
            )
        )
    for criterion in ("played_over_30s", "new_artists", "entropy_bits"):
        of = {n: float(np.mean([r[1][criterion] for r in found])) for n, found in runs.items()}
        rows.append(
            Row(
                task,
                f"{criterion}, simulated, n {len(ours)} x {world.listeners}",
                of[DEFAULT],
                peers={name: of[name] for name in ("random", "popularity", "oracle")},
                target={"played_over_30s": "over .6", "new_artists": "5+ a month"}.get(
                    criterion, "over 3.5"
                ),
                met={"played_over_30s": of[DEFAULT] > 0.6, "new_artists": of[DEFAULT] >= 5}.get(
                    criterion, of[DEFAULT] > 3.5
                ),
            )
        )
    return rows
