"""The compare page: one HTML file that asks nothing of any network."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from training.evaluation.intervals import Interval
from training.review.comparison import Comparison, Line, Side
from training.review.comparison_figures import differences_picture, weights_picture
from training.review.gates import Finding

NAMES = {
    "ndcg_10": "NDCG@10",
    "recall_10": "recall@10",
    "map_10": "MAP@10",
    "entropy": "entropy, bits",
    "novelty": "novelty, bits",
    "new_artist_share": "new-artist share",
    "artist_coverage": "coverage of artists",
    "track_coverage": "coverage of tracks",
}


def page_of(comparison: Comparison) -> str:
    """Return the page; everything that comes from a run is escaped.

    The pictures alone are not: they are drawn here, out of numbers.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"said": _said, "named": _named, "tone": _tone, "short": _short}
    environment.globals["bar"] = _bar
    before, after = comparison.before.run, comparison.after.run
    return environment.get_template("compare.html").render(
        c=comparison,
        verdict=_verdict(comparison),
        decided=_decided(comparison.after),
        weights=_picture(weights_picture(before, after)),
        differences=_picture(differences_picture(comparison.differences)),
        gain=next((line.difference for line in comparison.metrics), None),
        losing=[line for line in comparison.groups if _tone(line.difference) == "loss"],
        reach=_reach(comparison.groups),
        gates=_grouped(comparison.after.gates),
        same=[
            word
            for kind, word in (("data", "data"), ("code", "code"), ("parameter", "parameters"))
            if kind not in {change.kind for change in comparison.changes}
        ],
    )


def _picture(svg: str | None) -> Markup | None:
    return None if svg is None else Markup(svg)  # noqa: S704 - drawn here, out of numbers


def _said(interval: Interval | None, digits: int = 3) -> str:
    """Return an interval as the page writes it."""
    if interval is None:
        return "-"
    mean, low, high = (f"{x:.{digits}f}" for x in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}]"


def _named(name: str) -> str:
    """Return what a metric is called on the page.

    Examples
    --------
    >>> _named("week_1/ndcg_10"), _named("full_map_10"), _named("history_long")
    ('NDCG@10, week_1', 'MAP@10', 'history long')
    """
    stage, _, metric = name.rpartition("/")
    plain = metric.removeprefix("full_")
    known = NAMES.get(plain, plain.replace("_", " "))
    return f"{known}, {stage}" if stage else known


def _tone(interval: Interval | None) -> str:
    """Return gain or loss where a difference is beyond chance, even where it is not."""
    if interval is None or interval.low <= 0 <= interval.high:
        return "even"
    return "gain" if interval.mean > 0 else "loss"


def _short(text: str) -> str:
    """Return a long hash by its first twelve signs.

    Examples
    --------
    >>> _short("0123456789abcdef0123"), _short("50.0")
    ('0123456789ab…', '50.0')
    """
    is_hash = len(text) > 16 and " " not in text and all(c.isalnum() or c in "-." for c in text)
    return f"{text[:12]}…" if is_hash else text


def _verdict(comparison: Comparison) -> str:
    gain = comparison.metrics[0].difference if comparison.metrics else None
    if gain is None:
        return "At least one of these runs left no evaluation: there is nothing to compare."
    words = {
        "gain": "The second run finds more of what listeners go on to play",
        "loss": "The second run finds less of what listeners go on to play",
        "even": "No difference beyond chance in what listeners go on to play",
    }
    how = "paired by listener" if comparison.paired else "of separate samples, so a wide interval"
    return f"{words[_tone(gain)]}: NDCG@10 {_said(gain)}, {how}."


def _decided(side: Side) -> str:
    if side.decisions:
        return side.decisions[-1].message
    failed = [finding for finding in side.gates if not finding.passed]
    if failed:
        return f"It would be declined by gate {failed[0].gate}."
    return "Every gate would let it through." if side.gates else side.gates_note


def _reach(lines: Sequence[Line]) -> float:
    """Return how far the bars of differences reach to either side."""
    ends = [abs(x) for line in lines if line.difference for x in _ends(line.difference)]
    return max([*ends, 1e-9])


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _bar(interval: Interval, reach: float) -> dict[str, float]:
    """Return where an interval lies on an axis from -reach to reach, in percent."""
    low, mean, high = (
        round(50 + 50 * x / reach, 2) for x in (interval.low, interval.mean, interval.high)
    )
    return {"left": low, "width": round(high - low, 2), "mean": mean}


def _grouped(findings: Sequence[Finding]) -> list[Finding]:
    """Return failed gates first, the others in the order in which they are asked."""
    return sorted(findings, key=lambda finding: finding.passed)
