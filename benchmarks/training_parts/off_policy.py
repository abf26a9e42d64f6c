"""Off-policy estimates where the truth is known: 200 seeded worlds."""

from benchmarks.results import Row
from training.simulation.off_policy_worlds import LISTENERS, ROWS, outcomes

WORLDS = 200


def run(worlds: int = WORLDS) -> list[Row]:
    """Return coverage and width of each estimator's intervals."""
    seen = list(outcomes(worlds))
    rows = []
    task = f"{worlds} worlds of {LISTENERS} x {ROWS} randomised impressions"
    for name in seen[0]:
        ones = [world[name] for world in seen]
        covered = sum(one.covers for one in ones) / worlds
        width = sum(one.width for one in ones) / worlds
        plain = sum(one.monte_carlo for one in ones) / worlds
        rows += [
            Row(
                task,
                f"{name}: share of 95% intervals that hold the truth",
                covered,
                target="0.90 to 0.99",
                met=0.90 <= covered <= 0.99,
            ),
            Row(
                task,
                f"{name}: mean width of the interval",
                width,
                peers={"monte carlo": plain},
                ratio=width / plain,
                target="at most 2 x plain Monte Carlo",
                met=width <= 2 * plain,
            ),
        ]
    return rows
