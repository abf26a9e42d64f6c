"""`bondhu simulate`: what each rule would earn from listeners that are assumed."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from features.settings import read_settings
from pipelines.commands.output import console, result_console


def simulate(
    world: Annotated[
        Path | None, typer.Option(help="A file of worlds; the built-in three otherwise.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Runs per world and rule.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 1,
) -> None:
    """Let simulated listeners judge lists; prints each rule's regret relative to random."""
    from training.simulation.arms import ARMS, play  # noqa: PLC0415 - numpy and figures
    from training.simulation.population import read_traits  # noqa: PLC0415
    from training.simulation.world import WORLDS, read_worlds  # noqa: PLC0415

    worlds = read_worlds(world or WORLDS)
    scores = read_traits(read_settings().bondhu_data)
    origin = "built-in figures" if scores is None else f"{len(scores)} real questionnaires"
    table = Table(
        title=f"simulated: regret per interaction by random's; Big Five from {origin}",
        title_justify="left",
    )
    for heading in ("rule", *(each.name for each in worlds)):
        table.add_column(heading)
    means: dict[str, list[float]] = {name: [] for name in ARMS}
    for each in worlds:
        for name, arm in ARMS.items():
            with console.status(f"simulating {each.name}: {name}"):
                runs = [play(each, arm, at, scores) for at in range(seed, seed + seeds)]
            means[name].append(sum(float(trace.regret.mean()) for trace in runs) / seeds)
    for name, row in means.items():
        cells = (
            f"{mean:.4f} ({mean / at_random:.0%})"
            for mean, at_random in zip(row, means["random"], strict=True)
        )
        table.add_row(name, *cells)
    result_console().print(table)
