"""What learning is worth: `make bench-learning`.

All rules in three simulated worlds beside libraries' bandits, new listeners, two versions of the
personality match, a planted world, real randomised ratings, and speed. Policies were tuned on
seeds from 1000 on, figures are those of seeds 1 to 20; `--seeds 21-40` takes others for regret.
"""

import argparse
import sys
from collections.abc import Callable

from benchmarks.learning_parts.cold_start import cold_start, planted
from benchmarks.learning_parts.personality import personality
from benchmarks.learning_parts.regret import SEEDS, regret
from benchmarks.learning_parts.situnes import situnes
from benchmarks.learning_parts.speed import speed
from benchmarks.results import Row, publish
from features.settings import read_settings
from training.simulation.population import read_traits


def main() -> None:
    """Run every part, or those that are named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning")
    parser.add_argument("parts", nargs="*", help="all, if none is named")
    parser.add_argument("--seeds", type=_seeds, default=SEEDS, help="of regret: FIRST-LAST")
    asked = parser.parse_args()
    data = read_settings().bondhu_data
    scores = read_traits(data)
    parts: dict[str, Callable[[], list[Row]]] = {
        "speed": speed,
        "planted": planted,
        "cold_start": lambda: cold_start(scores),
        "personality": lambda: personality(scores),
        "situnes": lambda: situnes(data / "situnes") if data else [],
        "regret": lambda: regret(scores, asked.seeds),
    }
    if unknown := set(asked.parts) - parts.keys():
        parser.error(f"no part is called {', '.join(sorted(unknown))}: {', '.join(parts)}")
    rows: list[Row] = []
    for name in asked.parts or parts:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += parts[name]()
    if data is None:
        print("no SiTunes rows: set BONDHU_DATA", file=sys.stderr)
    fresh = asked.seeds != SEEDS
    publish(f"learning-{asked.seeds[0]}-{asked.seeds[-1]}" if fresh else "learning", rows)


def _seeds(text: str) -> tuple[int, ...]:
    first, _, last = text.partition("-")
    return tuple(range(int(first), int(last or first) + 1))


if __name__ == "__main__":
    main()
