"""What a benchmark says: one row per figure, as a table for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes
    ----------
    task, metric
        What was done, and what was measured of it (with its unit, if it has one).
    ours
        The figure.
    interval
        Its 95% interval, or that of the difference that `metric` names; None: not sampled.
    peers
        The same figure of others, in the same run.
    floor
        What the machine needs for the bare work, in the unit of `ours`.
    ratio
        Ours by the floor or by the best peer, as the target asks.
    target
        What was to be reached, in words.
    met
        Whether it was; None where there is no target.

    Examples
    --------
    >>> row = Row("load", "seconds", 3.0, floor=2.0, ratio=1.5, target="at most 2 x", met=True)
    >>> asdict(row)["ratio"]
    1.5
    """

    task: str
    metric: str
    ours: float
    interval: tuple[float, float] | None = None
    peers: Mapping[str, float] = field(default_factory=dict)
    floor: float | None = None
    ratio: float | None = None
    target: str | None = None
    met: bool | None = None


def publish(name: str, rows: Sequence[Row], *, folder: Path = RESULTS) -> Path:
    """Print the rows and write them to `folder`/NAME.json, which takes the place of the last run's.

    Returns
    -------
    The file.
    """
    Console(width=160, highlight=False, markup=False).print(table(name, rows))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    fresh = path.with_suffix(".json.new")
    fresh.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)
    return path


def table(name: str, rows: Sequence[Row]) -> Table:
    """Return the rows as people read them."""
    drawn = Table(title=f"bench-{name}", title_justify="left")
    for heading in ("task", "metric", "ours", "95%", "peers", "floor", "ratio", "target", "met"):
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(
            row.task,
            row.metric,
            figure(row.ours),
            "" if row.interval is None else " to ".join(map(figure, row.interval)),
            ", ".join(f"{peer} {figure(value)}" for peer, value in row.peers.items()),
            "" if row.floor is None else figure(row.floor),
            "" if row.ratio is None else figure(row.ratio),
            row.target or "",
            {None: "", True: "yes", False: "no"}[row.met],
        )
    return drawn


def figure(value: float) -> str:
    """Return a number with four digits that count.

    Examples
    --------
    >>> figure(0.123456), figure(1234567.0), figure(3.0)
    ('0.1235', '1,234,567', '3')
    """
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
