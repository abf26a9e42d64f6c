"""bench-quality: the ranking beside what a data scientist would otherwise pick.

Full rankings, five splits pooled, differences paired by listener with 95% intervals. Every model
chooses among at most eight settings on validation rows; nothing is chosen on test rows. Ours is the
very class that is trained, registered and served.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.results import Row, publish
from benchmarks.tasks import lastfm, playlists, situnes
from benchmarks.tasks.tuning import Compared


def row_of(task: str, metric: str, compared: Compared, target: str, *, met: bool) -> Row:
    """Return the figure of a task beside its peers, the interval being that of the paired gain."""
    gain = compared.gain
    return Row(
        task,
        f"{metric}; 95% of the gain over {compared.best}",
        float(compared.ours.mean()),
        interval=(gain.low, gain.high),
        peers=compared.means,
        ratio=compared.ratio,
        target=target,
        met=met,
    )


def of_lastfm(folder: Path) -> list[Row]:
    """Artists for unseen listeners."""
    compared, coverage, novelty = lastfm.run(lastfm.read(folder), say)
    best, covered = compared.best, coverage.pop("ours")
    return [
        row_of(
            "Last.fm artists", "NDCG@10", compared,
            "gain above 0, ratio at least 1.03 (stretch 1.05)",
            met=compared.gain.low > 0 and compared.ratio >= 1.03,
        ),
        Row(
            "Last.fm artists", "catalogue coverage of the lists", covered,
            peers=coverage, target=f"not below {best}'s", met=covered >= coverage[best],
        ),
        Row("Last.fm artists", "novelty, bits per artist", novelty.pop("ours"), peers=novelty),
    ]  # fmt: skip


def of_playlists(folder: Path) -> list[Row]:
    """Continuation of unseen playlists, and tracks that no training playlist has."""
    data = playlists.read(folder)
    compared, without, lists = playlists.run(data, say)
    low, high = compared.ratio_interval
    rows = [
        row_of(
            "playlist continuation", "NDCG@50", compared,
            "ratio at least 1.4, its lower bound above 1.15",
            met=compared.ratio >= 1.4 and low > 1.15,
        ),
        Row("playlist continuation", "ratio to best peer", compared.ratio, interval=(low, high)),
    ]  # fmt: skip
    rows += _ablation("playlist continuation", compared, without)
    free = lists[0.0].mean(axis=0)
    for name, value in zip(
        ("entropy, bits", "1 - popularity", "new artists"), free[1:], strict=True
    ):
        rows.append(Row("playlist continuation", f"of lists of 50: {name}", float(value)))
    for bits, values in lists.items():
        if bits:
            found, reached = values[:, 0].mean(), values[:, 1].mean()
            rows.append(
                Row(
                    f"min_entropy {bits:g}", "NDCG@50", float(found),
                    peers={"without a floor": float(free[0])}, ratio=float(found / free[0]),
                )
            )  # fmt: skip
            share = float((values[:, 1] >= bits - 1e-9).mean())
            rows.append(
                Row(f"min_entropy {bits:g}", "entropy reached, bits", float(reached),
                    peers={"share of lists at the floor": share})
            )  # fmt: skip
    compared, without, _ = playlists.run(data, say, is_cold=True)
    rows.append(
        row_of(
            "cold tracks", "NDCG@50", compared, "ratio at least 1.15", met=compared.ratio >= 1.15
        )
    )
    return rows + _ablation("cold tracks", compared, without)


def _ablation(task: str, compared: Compared, without: dict[str, np.ndarray]) -> list[Row]:
    ours = float(compared.ours.mean())
    return [
        Row(task, f"NDCG@50 without reason {reason}", float(values.mean()),
            ratio=float(values.mean()) / ours)
        for reason, values in without.items()
    ]  # fmt: skip


def of_situnes(folder: Path) -> list[Row]:
    """Ratings of thirty people."""
    compared, people = situnes.run(folder)
    return [
        row_of(
            f"SiTunes, {people} people", "AUC per person", compared,
            "gain's lower bound above -.03", met=compared.gain.low > -0.03,
        )
    ]  # fmt: skip


def say(line: str) -> None:
    """Tell how far it is; standard error, as every progress."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure all tasks and publish one table."""
    folder = os.environ.get("BONDHU_DATA")
    if not folder:
        sys.exit("bench-quality needs BONDHU_DATA: the folder of real data")
    began = time.monotonic()
    rows: list[Row] = []
    for task in (of_lastfm, of_playlists, of_situnes):
        rows += task(Path(folder))
        say(f"{task.__name__} done after {time.monotonic() - began:.0f} s")
    publish("quality", rows)


if __name__ == "__main__":
    main()
