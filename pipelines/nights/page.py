"""A night as one HTML page that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from importlib.resources import files
from typing import Any

import jinja2

from features import nights
from features.nights import NightRow
from pipelines.nights.alarms import unfinished, verdict
from pipelines.nights.night import Night
from pipelines.promoting import decided

NIGHTS_SHOWN = 30
WIDTH, HEIGHT = 300.0, 64.0
"""Of a trend's picture, in its own units."""


@dataclass(frozen=True)
class Trend:
    """A figure over nights, ready to be drawn.

    Attributes
    ----------
    points
        "x,y x,y ..." of the nights that have one.
    last
        The latest value as text.
    limit_y
        Where its limit lies, None where it has none in the picture.
    dots
        (x, y, "night: value") of each point.
    """

    label: str
    points: str
    last: str
    limit_y: float | None
    limit: str
    dots: Sequence[tuple[float, float, str]]


TRENDS: Sequence[tuple[str, Sequence[str], str, str]] = (
    ("Plays that came in", ("feeds", "plays", "rows"), "{:.0f}", ""),
    ("Feedback that came in", ("feeds", "feedback", "rows"), "{:.0f}", ""),
    ("Share of plays over 30 s", ("engagement", "long_plays", "value"), "{:.1%}", "long_plays"),
    ("New artists a listener and month", ("engagement", "new_artists", "value"), "{:.1f}",
     "new_artists"),
    ("Entropy, bits", ("engagement", "entropy_bits", "value"), "{:.2f}", "entropy"),
    ("Cache hits", ("engagement", "cache_hits", "value"), "{:.1%}", "cache_hits"),
    ("Cached answers, 95% within ms", ("engagement", "cached", "value"), "{:g}", "cached_ms"),
    ("First lists, 95% within ms", ("engagement", "initial", "value"), "{:g}", "initial_ms"),
    ("Queries, 95% within ms", ("engagement", "queries", "value"), "{:g}", "queries_ms"),
    ("Uptime", ("engagement", "uptime", "value"), "{:.2%}", "uptime"),
    ("Largest drift, PSI", ("drift",), "{:.2f}", "psi"),
)  # fmt: skip
"""Label, where the watch's outcome holds it, how it is written, and its setting BONDHU_WATCH_..."""


def page(night: Night) -> str:
    """Return the page of a night as far as it has come."""
    engine = night.environment.engine
    done = nights.steps(engine, night.date)
    known = nights.nights(engine, until=night.date, most=NIGHTS_SHOWN)[::-1]
    watched = [(row, nights.steps(engine, row.night)) for row in known]
    values = [
        (row, found["watch"].outcome if "watch" in found else {}, found) for row, found in watched
    ]
    settings = night.environment.settings
    broke_off = "; ".join(unfinished(night)) or None
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        files("pipelines.nights").joinpath("night.html").read_text(encoding="utf-8")
    )
    since = nights.watched_since(engine, night.date, as_of=night.as_of)
    took = [one for one in done.values() if one.seconds is not None]
    return template.render(
        night=night.date.isoformat(),
        as_of=f"{night.as_of.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        verdict=verdict(night, broke_off),
        watch=night.outcome("watch"),
        features=night.outcome("refresh_features"),
        history=night.outcome("refresh_history"),
        candidates=night.outcome("evaluate"),
        decided=decided(night),
        precomputed=night.outcome("precompute"),
        cleaned=night.outcome("clean"),
        steps=took,
        longest=max((one.seconds or 0.0 for one in took), default=1.0) or 1.0,
        trends=[
            trend
            for label, place, form, setting in TRENDS
            if (
                trend := _trend(
                    label,
                    [(row, _at(outcome, place)) for row, outcome, _ in values],
                    form,
                    getattr(settings, f"bondhu_watch_{setting}") if setting else None,
                )
            )
        ],
        seconds=_trend(
            "Seconds a night",
            [
                (row, sum(one.seconds or 0.0 for one in found.values()) or None)
                for row, _, found in values
            ],
            "{:.0f}",
            None,
        ),
        past=[row for row in known[::-1] if row.night < night.date][:14],
        day_before=f"{since.astimezone(UTC):%Y-%m-%d %H:%M}",
        size=(WIDTH, HEIGHT),
    )


def _at(outcome: Mapping[str, Any], place: Sequence[str]) -> float | None:
    found: Any = outcome
    for key in place:
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, dict):  # drift: the largest of all
        found = max(found.values(), default=None)
    return None if found is None else float(found)


def _trend(
    label: str, values: Sequence[tuple[NightRow, float | None]], form: str, limit: float | None
) -> Trend | None:
    """Return a trend as a line from the bottom (0) to a little over the largest value."""
    known = [(at, row, value) for at, (row, value) in enumerate(values) if value is not None]
    if not known:
        return None
    top = max([value for _, _, value in known] + ([limit] if limit else [])) * 1.1 or 1.0
    step = WIDTH / max(1, len(values) - 1)

    def y(value: float) -> float:
        return round(HEIGHT * (1.0 - value / top), 1)

    dots = [
        (round(at * step, 1), y(value), f"{row.night}: {form.format(value)}")
        for at, row, value in known
    ]
    return Trend(
        label,
        " ".join(f"{x},{height}" for x, height, _ in dots),
        form.format(known[-1][2]),
        None if limit is None else y(limit),
        "" if limit is None else form.format(limit),
        dots,
    )
