"""bench-candidates: 500 candidates out of a million tracks, from every source.

Tracks and histories are real; the million are the real tracks many times over (see
`benchmarks.tasks.large_catalogue`). Each listener is a playlist: up to 50 of its tracks were heard.
Recall compares the index's 500 nearest in audio space with those of an exact search over all.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.results import Row, publish
from benchmarks.tasks import playlists as task
from benchmarks.tasks.large_catalogue import enlarged
from recommender.audio import cosine
from recommender.audio_index import AudioIndex
from recommender.candidates import propose
from recommender.cold_start import Stage
from recommender.listener import Listener
from recommender.taste import ColistenIn
from recommender.tracks import Catalogue
from training.data.listening import Listening
from training.fit.mixes import fit_grains, listened_to

SIZE = 1_000_000
LISTENERS = 300
RECALLED = 60
NEAREST = 500


def listeners_of(data: task.Playlists, catalogue: Catalogue, *, seed: int) -> list[Listener]:
    """Return listeners who heard up to 50 tracks of a playlist, each with a taste."""
    rng = np.random.default_rng(seed)
    listenings = []
    for members in data.membership:
        once = listened_to(data.bare, np.flatnonzero(members))
        plays = dict(zip(once.artists, once.plays.tolist(), strict=True))
        listenings.append(Listening(plays, once.tracks))
    joined = ColistenIn.of(fit_grains(listenings, data.bare, seed=seed), catalogue)
    made = []
    for at in rng.permutation(len(data.membership)).tolist():
        rows = rng.permutation(np.flatnonzero(data.membership[at]))[:50]
        if len(rows) < 10:
            continue
        listened = listened_to(catalogue, rows)
        made.append(
            Listener(
                Stage.MONTH_2_PLUS,
                traits=dict(
                    zip(
                        ("openness", "extraversion", "neuroticism"),
                        rng.uniform(0, 1, 3).tolist(),
                        strict=True,
                    )
                ),
                history_audio=catalogue.tracks.audio[rows],
                history_weight=rng.uniform(0.5, 3.0, len(rows)),
                heard=np.sort(rows),
                heard_artists=np.unique(catalogue.tracks.artist[rows]),
                categories={0: 0.6, 3: 0.4},
                taste=joined.taste(listened),
            )
        )
    return made[:LISTENERS]


def measure(data: task.Playlists, size: int, say: Callable[[str], None]) -> list[Row]:
    """Return the figures."""
    catalogue = enlarged(data, size, seed=7)
    catalogue.warm()
    say(f"{len(catalogue)} tracks")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        AudioIndex.of(catalogue.tracks).save(Path(folder))
        built = time.perf_counter() - began
        megabytes = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
        index = AudioIndex.open(Path(folder))
        listeners = listeners_of(data, catalogue, seed=7)
        say(f"index built in {built:.1f} s, {len(listeners)} listeners")
        for listener in listeners[:20]:
            propose(catalogue, listener, index=index)
        seconds, counts = [], []
        for listener in listeners:
            began = time.perf_counter()
            rows, _ = propose(catalogue, listener, index=index)
            seconds.append(time.perf_counter() - began)
            counts.append(len(rows))
        recalls = [_recall(catalogue, listener, index) for listener in listeners[:RECALLED]]
        began = time.perf_counter()
        for listener in listeners[:5]:
            propose(catalogue, listener)
        exact = 1000 * (time.perf_counter() - began) / 5
    p50, p99 = (float(np.quantile(seconds, q)) * 1000 for q in (0.5, 0.99))
    recall = float(np.mean(recalls))
    task_name = f"500 of {len(catalogue):,}"
    return [
        Row(task_name, "propose, ms, p99", p99, target="under 15 ms", met=p99 < 15,
            peers={"judging every track, mean ms": exact}),
        Row(task_name, "propose, ms, median", p50),
        Row(task_name, "audio recall@500", recall, target="at least .95", met=recall >= 0.95),
        Row(task_name, "candidates, fewest", float(min(counts)), target="at least 200",
            met=min(counts) >= 200),
        Row("index", "build, s", built, target="minutes", met=built < 300),
        Row("index", "mapped by all workers, MB", megabytes),
    ]  # fmt: skip


def _recall(catalogue: Catalogue, listener: Listener, index: AudioIndex) -> float:
    near = cosine(catalogue.tracks.audio, listener.history_audio, unknown=0.0)
    near *= (listener.history_weight / listener.history_weight.max()).astype(np.float32)
    worth = near.max(axis=1)
    least = np.partition(worth, -NEAREST)[-NEAREST]
    rows, judged = index.nearest(listener.history_audio, listener.history_weight)
    best = rows[np.argsort(-judged, kind="stable")[:NEAREST]]
    # A track as near as the last of the exact 500 counts: which of equals is named says nothing.
    return float((worth[best] >= least - 1e-6).mean())


def main() -> None:
    """Measure and publish."""
    folder = os.environ.get("BONDHU_DATA")
    if not folder:
        sys.exit("bench-candidates needs BONDHU_DATA: the folder of real data")

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    publish("candidates", measure(task.read(Path(folder)), SIZE, say))


if __name__ == "__main__":
    with threadpool_limits(limits=1):  # as in a worker that shares its machine
        main()
