"""bench-training: how long fitting and judging a scorer takes, and whether intervals are honest.

Parts by name: `python -m benchmarks.training weights evaluation off_policy`.
"""

import sys
from collections.abc import Callable

from benchmarks.results import Row, publish
from benchmarks.training_parts import evaluation, off_policy, weights
from features.settings import read_settings


def main() -> None:
    """Run every part, or those that are named on the command line."""
    data = read_settings().bondhu_data
    parts: dict[str, Callable[[], list[Row]]] = {
        "weights": weights.run,
        "evaluation": lambda: evaluation.run(data),
        "off_policy": off_policy.run,
    }
    rows: list[Row] = []
    for name in sys.argv[1:] or parts:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += parts[name]()
    publish("training", rows)


if __name__ == "__main__":
    main()
